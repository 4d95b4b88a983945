"""`--once`: one pass, all of it said on the status branch, and an exit code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from guildnet.errors import ConfigurationError
from guildnet_reconciler.main import run
from guildnet_reconciler.settings import Settings

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote


async def test_an_empty_repository_is_all_well(remote: Remote, settings: Settings) -> None:
    remote.commit({"README.md": "hello"})
    assert await run(replace(settings, once=True)) == 0
    assert "Only GuildNet" in remote.git("show", "status:README.md", at=remote.path)


async def test_an_org_without_a_kubeconfig_is_told_with_its_cure(
    remote: Remote, settings: Settings
) -> None:
    """I10: on the status branch, and by the exit code."""
    org = (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\n"
        "spec: {cluster: {kubeconfig: acme, namespace: agents}}\n"
    )
    remote.commit({"orgs/acme.yaml": org, "orgs/bad.yaml": "kind: Org\n"})
    assert await run(replace(settings, once=True)) == 1
    reported = remote.status("orgs/acme/org.json")
    assert reported["cluster"]["reachable"] is False
    assert "guildnet org add acme" in reported["cluster"]["cure"]
    assert remote.status("orgs/bad/org.json")["quarantined"][0]["path"] == "orgs/bad.yaml"
    subject = remote.git("log", "-1", "--format=%s%n%(trailers)", "status", at=remote.path)
    assert "Source-Revision:" in subject


async def test_a_kubeconfig_that_was_not_granted_is_refused(
    remote: Remote, settings: Settings
) -> None:
    """I9: who can commit cannot choose another org's kubeconfig."""
    (settings.state_dir / "kube").mkdir(parents=True)
    (settings.state_dir / "kube" / "globex.config").write_text("not even looked at")
    org = (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\n"
        "spec: {cluster: {kubeconfig: globex, namespace: agents}}\n"
    )
    remote.commit({"orgs/acme.yaml": org})
    assert await run(replace(settings, once=True)) == 1
    assert "may not use" in remote.status("orgs/acme/org.json")["cluster"]["message"]


async def test_a_lost_status_branch_stops_the_pass_until_told_otherwise(
    remote: Remote, settings: Settings
) -> None:
    """I7: a status branch that is missing again is not a first start."""
    remote.commit({"README.md": "hello"})
    assert await run(replace(settings, once=True)) == 0
    remote.git("update-ref", "-d", "refs/heads/status", at=remote.path)
    assert await run(replace(settings, once=True)) == 1
    refs = remote.git("for-each-ref", "--format=%(refname)", at=remote.path)
    assert "refs/heads/status" not in refs
    assert await run(replace(settings, once=True, init_status=True)) == 0
    assert remote.git("show", "status:README.md", at=remote.path)


async def test_settings_that_cannot_work_are_refused_at_once(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"user name or a password"):
        await run(replace(settings, repo="https://u:p@git.example/x.git", once=True))
    with pytest.raises(ConfigurationError):
        await run(replace(settings, webhook_secret_file=tmp_path / "none"))
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(ConfigurationError, match="webhook secret is empty"):
        await run(replace(settings, webhook_secret_file=empty))
