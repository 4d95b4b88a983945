"""`guildnet mesh policy` and `guildnet validate` on the files of a checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SERVER = "https://headscale.example"


def _guildnet(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "guildnet_cli.main", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _write(root: Path, org: str, mesh: str) -> None:
    (root / "orgs").mkdir(exist_ok=True)
    (root / "orgs" / f"{org}.yaml").write_text(f"""\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: {org}}}
spec:
  cluster: {{kubeconfig: {org}, namespace: agents}}
  agent: {{command: [sh]}}
  mesh:
    mode: tailscale
    apiSecret: mesh
{mesh}
""")


def _mesh(server: str, people: str, tag: str) -> str:
    lines = (f"loginServer: {server}", f"people: [{people}]", f"tags: ['{tag}']")
    return "\n".join(f"    {line}" for line in lines)


def test_a_control_server_gets_the_rules_of_its_own_orgs(tmp_path: Path) -> None:
    other = "https://other.example"
    _write(tmp_path, "acme", _mesh(SERVER, "alice@example.com", "tag:acme-agents"))
    _write(tmp_path, "globex", _mesh(other, "bob@example.com", "tag:globex-agents"))

    several = _guildnet("mesh", "policy", str(tmp_path))
    assert several.returncode == 1
    assert f"--login-server {SERVER} or {other}" in several.stderr

    found = _guildnet("mesh", "policy", str(tmp_path), "--login-server", other, "-o", "json")
    assert json.loads(found.stdout)["groups"] == {"group:guildnet-globex": ["bob@example.com"]}

    unknown = _guildnet("mesh", "policy", str(tmp_path), "--login-server", "https://none.example")
    assert unknown.returncode == 1
    assert "no org uses https://none.example" in unknown.stderr


def test_orgs_that_share_a_tag_are_reported_and_get_no_policy(tmp_path: Path) -> None:
    """I2: the people of one org would reach the agents of the other."""
    _write(tmp_path, "acme", _mesh(SERVER, "alice@example.com", "tag:ai"))
    _write(tmp_path, "globex", _mesh(SERVER, "bob@example.com", "tag:ai"))

    valid, policy = (_guildnet(*verb, str(tmp_path)) for verb in (["validate"], ["mesh", "policy"]))

    for output in (valid.stdout, policy.stderr):
        assert "orgs/acme.yaml:12: spec.mesh.tags: tag:ai is also a tag of org globex" in output
        assert "orgs/globex.yaml:12: spec.mesh.tags: tag:ai is also a tag of org acme" in output
    assert (valid.returncode, policy.returncode) == (1, 1)
    assert policy.stdout == ""


def test_an_invalid_org_gets_no_policy_that_would_lock_its_people_out(tmp_path: Path) -> None:
    _write(tmp_path, "acme", _mesh(SERVER, "alice@example.com", "tag:acme"))
    _write(tmp_path, "globex", _mesh(SERVER, "bob", "tag:globex"))

    refused = _guildnet("mesh", "policy", str(tmp_path))

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "orgs/globex.yaml:11: spec.mesh.people[0]" in refused.stderr


def test_without_a_mesh_there_is_nothing_to_print(tmp_path: Path) -> None:
    (tmp_path / "orgs").mkdir()
    empty = _guildnet("mesh", "policy", str(tmp_path))
    assert empty.returncode == 1
    assert "no org has a mesh" in empty.stderr
    assert "spec.mesh" in empty.stderr
