"""An org's `spec.mesh`: its values with their defaults, and the rules that a schema cannot express.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from guildnet.mesh.names import default_tag

#: Tailscale's own control server and API: https://tailscale.com/api.
VENDOR_LOGIN_SERVER = "https://controlplane.tailscale.com"
VENDOR_API = "https://api.tailscale.com"
_VENDOR_HOSTS = ("controlplane.tailscale.com", "login.tailscale.com")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """The mesh of one org. Exactly one of `auth_key_secret` and `api_secret` is set.

    `people`: the logins on the control server of those who may reach the agents' editors.
    `given_tags`: those in the org's file, without the default. `image`: None for the operator's.
    """

    login_server: str
    tags: tuple[str, ...]
    given_tags: tuple[str, ...] = ()
    auth_key_secret: str | None = None
    api_secret: str | None = None
    image: str | None = None
    people: tuple[str, ...] = ()

    @property
    def secret(self) -> str:
        """The Secret with the credential, whichever kind it is."""
        return self.api_secret or self.auth_key_secret or ""

    @property
    def address(self) -> tuple[str, int]:
        """The login server's host and port."""
        parts = urlsplit(self.login_server)
        return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


def mesh_settings(org: str, given: Json | None) -> MeshSettings | None:
    """The mesh of an org from its valid `spec.mesh`; None without one."""
    if not given or given.get("mode", "none") == "none":
        return None
    tags = tuple(map(str, given.get("tags", ())))
    return MeshSettings(
        login_server=str(given.get("loginServer", VENDOR_LOGIN_SERVER)).rstrip("/"),
        tags=tags or (default_tag(org),),
        given_tags=tags,
        auth_key_secret=given.get("authKeySecret"),
        api_secret=given.get("apiSecret"),
        image=given.get("image"),
        people=tuple(given.get("people", ())),
    )


def is_vendor(login_server: str) -> bool:
    """Whether this is Tailscale's own control server."""
    return urlsplit(login_server).hostname in _VENDOR_HOSTS


def mesh_problems(spec: Json) -> Iterator[tuple[tuple[str, ...], str]]:
    """(place below spec, message) of each rule that an org's `mesh` breaks."""
    mesh: Json = spec.get("mesh", {})
    if mesh and "mode" not in mesh:
        yield ("mesh",), "mode is missing: set mode: tailscale, or mode: none to switch it off"
    if mesh.get("mode") != "tailscale":
        return
    secrets = [name for name in ("authKeySecret", "apiSecret") if name in mesh]
    if len(secrets) != 1:
        found = "both are set" if secrets else "neither is set"
        yield (
            ("mesh",),
            f"set either apiSecret or authKeySecret; {found}. With apiSecret (a Headscale API "
            "key, or a Tailscale OAuth client) each start of an agent gets a key of its own",
        )
    server = mesh.get("loginServer")
    if server is None:
        return
    problem = login_server_problem(server)
    if problem:
        yield ("mesh", "loginServer"), problem


def login_server_problem(url: str) -> str:
    """Why `url` cannot be a control server's; empty if it can."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "the URL cannot be read"
    if parts.scheme not in ("http", "https") or not is_whole:
        return "write the URL of the control server, http or https"
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        return "write scheme, host and port only, such as https://headscale.example"
    return ""
