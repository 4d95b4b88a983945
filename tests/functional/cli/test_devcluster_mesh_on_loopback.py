"""`guildnet devcluster mesh` without root: a real Headscale and client on loopback."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from guildnet_cli.commands.devcluster import devcluster_app
from guildnet_devcluster import mesh
from guildnet_devcluster.mesh import Mesh

POLICY = '{"acls": [{"action": "accept", "src": ["tag:ci"], "dst": ["tag:ci:22"]}]}'


@pytest.fixture
def runner(mesh_server: Mesh) -> Iterator[CliRunner]:
    """Runs the verbs; the programs are built, and no mesh remains."""
    yield CliRunner()
    mesh.down(mesh.folder())


def _run(runner: CliRunner, *arguments: str) -> str:
    done = runner.invoke(devcluster_app, ["mesh", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_up_prints_where_everything_is_and_down_removes_it(
    runner: CliRunner, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"tagOwners": {"tag:ci": []}, ' + POLICY[1:])

    found = json.loads(_run(runner, "up", "--loopback", "-o", "json", "--policy", str(policy)))

    assert json.loads(_run(runner, "up", "--loopback", "-o", "json")) == found
    trust = ssl.create_default_context(cafile=found["caCertificate"])
    key = Path(found["apiKeyFile"]).read_text()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=found["loginServer"], verify=trust, trust_env=False) as http:
        nodes = http.get("/api/v1/node", headers=headers).json()["nodes"]
        in_force = http.get("/api/v1/policy", headers=headers).json()["policy"]
    assert [node["user"]["name"] for node in nodes] == ["developer"]
    assert nodes[0]["ipAddresses"][0] == found["address"]
    assert in_force == policy.read_text()
    assert found["proxy"] in _run(runner, "up", "--loopback")

    _run(runner, "down")
    assert list(mesh.folder().parent.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(found["loginServer"], trust_env=False)


def test_up_names_what_is_wrong(runner: CliRunner, tmp_path: Path) -> None:
    missing = runner.invoke(devcluster_app, ["mesh", "up", "--policy", str(tmp_path / "none")])
    assert missing.exit_code == 2
    assert "does not exist" in missing.output
