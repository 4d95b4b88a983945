"""The viewer of an answer, and the orgs visible to them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from guildnet.digest import canonical_json, sha256_hex

_SCOPE_KEY = "guildnet.viewer"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A person or program that passed access control.

    `name` is shown on pages; it is "" without sign-in. `orgs` are the orgs that the viewer sees,
    None for all of them. `expires` is the time of the end of the session in seconds since the
    epoch, None for no end.
    """

    name: str = ""
    orgs: frozenset[str] | None = None
    expires: float | None = None

    @property
    def key(self) -> str:
        """A string that differs between viewers whose pages differ; "" for an unnamed viewer of
        all orgs."""
        if not self.name and self.orgs is None:
            return ""
        orgs = None if self.orgs is None else sorted(self.orgs)
        return sha256_hex(canonical_json([self.name, orgs]))[:12]

    def sees(self, org: str) -> bool:
        return self.orgs is None or org in self.orgs


def set_viewer(scope: Any, viewer: Viewer | None) -> None:
    """Record in the ASGI scope who sent the request; None if unknown."""
    scope[_SCOPE_KEY] = viewer


def known_viewer(request: Request) -> Viewer | None:
    """The sender of the request; None if unknown, which only open paths answer."""
    viewer: Viewer | None = request.scope.get(_SCOPE_KEY)
    return viewer


def viewer_of(request: Request) -> Viewer:
    """The sender of a request that passed access control.

    Raises LookupError for a request that did not: it must never be answered as if it had.
    """
    viewer = known_viewer(request)
    if viewer is None:
        raise LookupError("this request did not pass access control")
    return viewer
