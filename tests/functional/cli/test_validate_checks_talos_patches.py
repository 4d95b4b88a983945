"""`guildnet validate` finds what is wrong with an org's Talos patches; the org's tasks go on."""

from __future__ import annotations

from pathlib import Path

from tests.functional.cli.conftest import Guildnet, StateRepository

TALOS = """\
  talos:
    endpoint: https://10.0.0.2:6443
    version: v1.13.0
    kubernetesVersion: v1.36.2
    controlPlanes: [10.0.0.2]
    patches:
      - {path: orgs/acme/talos/all.yaml}
"""
GOOD = "machine:\n  nodeLabels: {team: web}\n"


def test_a_valid_patch_in_its_folder_is_no_fault(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.commit({"orgs/acme.yaml": state.read("orgs/acme.yaml") + TALOS})
    state.commit({"orgs/acme/talos/all.yaml": GOOD, "tasks/acme/a.yaml": state.task("a")})
    assert guildnet("validate", cwd=state.root).code == 0


def test_problems_of_patches_are_named_with_file_and_line(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.commit({"orgs/acme.yaml": state.read("orgs/acme.yaml") + TALOS})
    secret = "cluster:\n  secret: hunter2hunter2\n"
    state.commit({"orgs/acme/talos/all.yaml": secret, "orgs/acme/talos/other.yaml": GOOD})
    answer = guildnet("validate", cwd=state.root)
    assert answer.code == 1
    assert "orgs/acme/talos/all.yaml:2: cluster.secret: a secret (secret)" in answer.out
    assert "orgs/acme/talos/other.yaml: has no effect" in answer.out
    assert "hunter2" not in answer.out + answer.err
    (Path(state.root) / "orgs/acme/talos/all.yaml").unlink()
    answer = guildnet("validate", cwd=state.root)
    assert "all.yaml: missing: orgs/acme.yaml lists this patch" in answer.out


def test_a_link_in_place_of_a_patch_is_never_followed(
    guildnet: Guildnet, state: StateRepository
) -> None:
    state.commit({"orgs/acme.yaml": state.read("orgs/acme.yaml") + TALOS})
    folder = Path(state.root) / "orgs/acme/talos"
    folder.mkdir(parents=True)
    (folder / "all.yaml").symlink_to("/etc/passwd")
    answer = guildnet("validate", cwd=state.root)
    assert answer.code == 1
    assert "orgs/acme/talos/all.yaml: a symlink" in answer.out


def test_an_invalid_patch_stops_no_task(guildnet: Guildnet, state: StateRepository) -> None:
    """I3, I10: the plan applies the org's tasks as before."""
    state.commit({"orgs/acme.yaml": state.read("orgs/acme.yaml") + TALOS})
    state.commit({"orgs/acme/talos/all.yaml": "cluster: {secret: hunter2hunter2}\n"})
    state.commit({"tasks/acme/a.yaml": state.task("a")})
    answer = guildnet("plan", cwd=state.root)
    assert answer.code == 0, answer.out + answer.err
    assert "create" in answer.out
    assert "quarantine" not in answer.out
