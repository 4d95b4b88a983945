"""I10: a state folder that cannot be read is named with its cure, and ends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from guildnet.git import Mirror
from guildnet.outcome import Done, Waiting
from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.source.follow import Repository

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet_reconciler.settings import Settings


@pytest.fixture
def mirror(settings: Settings) -> Iterator[Mirror]:
    with Mirror.open(settings.repo, settings.mirror_path()) as opened:
        yield opened


def damage(settings: Settings) -> None:
    """Overwrite every object of the mirror, as a dying disk would."""
    for file in (settings.mirror_path() / "objects").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(b"\0" * min(file.stat().st_size, 4096))


async def test_while_the_status_branch_is_opened(remote: Remote, settings: Settings) -> None:
    remote.commit({"README.md": "x"})
    first = ReconcilerService(replace(settings, once=True))
    try:
        await first.open_status()
        assert first.opened == Done()
    finally:
        await first.close()
    damage(settings)
    second = ReconcilerService(replace(settings, once=True))
    try:
        await second.open_status()
        assert isinstance(second.opened, Waiting)
        assert str(settings.mirror_path()) in second.opened.message
        assert "git fsck" in second.opened.message
    finally:
        await second.close()


async def test_while_the_source_branch_is_followed(
    remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    remote.commit({"orgs/acme.yaml": "kind: Org\n"})
    mirror.fetch(["main"])
    damage(settings)
    repository = Repository(settings, mirror)
    result = await repository.run(ask_first=True, attempted_elsewhere=set)
    assert isinstance(result.outcome, Waiting)
    assert str(settings.mirror_path()) in result.outcome.message
    assert "git fsck" in result.outcome.message


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 5000, b'{"attempted": "; rm"}', b'{"attempted": []}', b"7", b"\xff" * 9999],
)
async def test_a_note_of_the_last_revision_that_is_not_ours(
    remote: Remote, settings: Settings, mirror: Mirror, content: bytes
) -> None:
    """The records are asked instead."""
    tip = remote.commit({"orgs/acme.yaml": "kind: Org\n"})
    settings.mirror_path().with_name(f"{settings.mirror_path().name}.attempted").write_bytes(
        content
    )
    repository = Repository(settings, mirror)
    result = await repository.run(ask_first=False, attempted_elsewhere=lambda: {tip})
    assert result.outcome == Done()
    assert repository.index is not None
    assert repository.index.revision == tip
