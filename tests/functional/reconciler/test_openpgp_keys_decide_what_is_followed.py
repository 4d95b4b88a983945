"""`--openpgp-keyring` decides which tip is followed, `--org-signers` who approves for an org."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.openpgp import NEEDS_GPG, People, openpgp_people

from guildnet.git import Mirror
from guildnet.git.keyring import KeyringUnusable
from guildnet.outcome import Done, Stalled, Waiting
from guildnet_reconciler.main import ReconcilerService
from guildnet_reconciler.source.follow import Repository

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.reconciler.conftest import Remote

    from guildnet.outcome import Outcome
    from guildnet_reconciler.settings import Settings

pytestmark = NEEDS_GPG


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with openpgp_people("alice", "mallory") as made:
        yield made


@pytest.fixture
def keyring(people: People, tmp_path: Path) -> Path:
    file = tmp_path / "signers.gpg"
    file.write_bytes(people.export("alice"))
    return file


@pytest.fixture
def mirror(settings: Settings) -> Iterator[Mirror]:
    with Mirror.open(settings.repo, settings.mirror_path()) as opened:
        yield opened


def outcome(repository: Repository) -> Outcome:
    return asyncio.run(repository.run(ask_first=False, attempted_elsewhere=set)).outcome


def test_only_a_tip_signed_by_a_key_of_the_file_is_followed(
    people: People, keyring: Path, remote: Remote, settings: Settings, mirror: Mirror
) -> None:
    repository = Repository(replace(settings, openpgp_keyring=keyring), mirror)
    first = people.commit(remote, "alice@example.com", "first")
    assert outcome(repository) == Done()
    people.commit(remote, "mallory@example.com", "second")
    held = outcome(repository)
    assert isinstance(held, Stalled)
    assert held.reason == "Unverified"
    assert repository.index is not None
    assert repository.index.revision == first
    last = people.commit(remote, "alice@example.com", "third")
    keyring.write_bytes(b"damaged")
    broken = outcome(repository)
    assert isinstance(broken, Waiting)
    assert str(keyring) in broken.message
    assert "gpg --export" in broken.message
    assert repository.index.revision == first
    keyring.write_bytes(people.export("alice"))
    assert outcome(repository) == Done()
    assert repository.index.revision == last
    assert repository.is_trusted(first)
    keyring.write_bytes(people.export("mallory"))
    people.commit(remote, "mallory@example.com", "fourth")
    assert outcome(repository) == Done()
    assert not repository.is_trusted(first)


def test_the_orgs_keys_approve_for_this_org_alone(
    people: People, remote: Remote, settings: Settings, mirror: Mirror, tmp_path: Path
) -> None:
    signers = tmp_path / "signers"
    signers.mkdir()
    (signers / "acme.gpg").write_bytes(people.export("alice"))
    repository = Repository(replace(settings, org_signers=signers), mirror)
    remote.commit({"tasks/acme/a.yaml": "one", "tasks/globex/a.yaml": "one"})
    for org in ("acme", "globex"):
        (remote.work / f"tasks/{org}/a.yaml").unlink()
    remote.commit({}, "gone")
    words = "approve\n\nApprove-Deletions: acme\nApprove-Deletions: globex"
    released = {}
    for name in ("mallory", "alice"):
        tip = people.commit(remote, f"{name}@example.com", words)
        mirror.fetch(["main"])
        approvals = repository.approvals(tip, None)
        released[name] = [
            org
            for org in ("acme", "globex")
            if approvals.released_deletions(org, ["a"], org_vanished=False)
        ]
    assert released == {"mallory": [], "alice": ["acme"]}


def test_a_reconciler_without_a_usable_keyring_does_not_start(
    keyring: Path, settings: Settings
) -> None:
    keyring.unlink()
    for _ in range(2):  # the folder's lock is released
        with pytest.raises(KeyringUnusable, match="cannot be read"):
            ReconcilerService(replace(settings, openpgp_keyring=keyring))
