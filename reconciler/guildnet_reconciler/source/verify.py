"""Step 2, verify: whether a tip may be followed. Blocks; called from a thread."""

from __future__ import annotations

from collections.abc import Iterable

from guildnet import labels
from guildnet.git import Mirror, SignaturePolicy
from guildnet.outcome import Done, Outcome, Stalled


def verify(
    mirror: Mirror, tip: str, *, attempted: Iterable[str], signatures: SignaturePolicy | None
) -> tuple[Outcome, frozenset[str]]:
    """Whether `tip` is signed if it must be, and descends from every revision in `attempted`.

    Also returns the revisions that the tip accepts as left out (`Accept-History`).
    """
    if signatures is not None and mirror.verify_commit(tip, signatures) is None:
        message = f"{tip} is not signed by an allowed signer: sign it, or add its signer"
        return Stalled("Unverified", message), frozenset()
    accepted = _accepted(mirror, tip)
    for revision in sorted(set(attempted)):
        if revision not in accepted and not mirror.is_ancestor(revision, tip):
            message = (
                f"{tip} does not descend from {revision}, which was applied: history was "
                f"rewritten. Push {revision} back, or commit with the trailer "
                f"'{labels.ACCEPT_HISTORY}: {revision}'"
            )
            return Stalled("HistoryRewritten", message), accepted
    return Done(), accepted


def _accepted(mirror: Mirror, tip: str) -> frozenset[str]:
    return frozenset(mirror.commit_info(tip).trailer_values(labels.ACCEPT_HISTORY))
