"""Step 1, fetch: the mirror at the newest revision. Blocks; called from a thread."""

from __future__ import annotations

from dataclasses import dataclass

from guildnet.errors import RefNotFound
from guildnet.git import Mirror
from guildnet.git.refs import remote_ref


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where the source branch is now; `status_tip` where the status branch is, None where it was
    not asked or (with `asked_status`) where there is none."""

    tip: str
    status_tip: str | None = None
    asked_status: bool = False


def fetch(
    mirror: Mirror, branch: str, status_branch: str, *, known: str | None, ask_first: bool
) -> Fetched:
    """Bring the source branch here. With `ask_first` (a poll) nothing is fetched that is known.

    Raises GitUnavailable, or RefNotFound when the remote answered that it has no such branch.
    """
    if not ask_first:
        return Fetched(mirror.fetch([branch])[branch])
    source, status = remote_ref(branch), remote_ref(status_branch)
    refs = mirror.ls_remote([source, status])
    tip = refs.get(source)
    if tip is None and source.startswith("refs/"):
        message = f"the remote has no {branch}"
        cure = "push it again; until then nothing is changed"
        raise RefNotFound(message, place=mirror.place, cure=cure)
    if tip is None or tip != known:
        tip = mirror.fetch([branch])[branch]
    return Fetched(tip, refs.get(status), asked_status=True)
