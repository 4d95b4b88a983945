"""The editor's port: printed once it listens, restored when lost, closed with the command."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from guildnet.errors import KubeUnavailable
from guildnet_cli.cluster.org_cluster import OrgCluster
from guildnet_cli.cluster.port_forward import EditorAddress, EditorTarget, Forward

TARGET = EditorTarget("fix-12345", 8443, "sesame")
# A fake kubectl: records its arguments and pid, then listens for $LASTS seconds.
KUBECTL = """\
#!/bin/sh
echo "$@" >> "$NOTES/arguments"
echo $$ >> "$NOTES/pids"
echo "Forwarding from 127.0.0.1:40404 -> 8443"
exec sleep "$LASTS"
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path))
    monkeypatch.setenv("LASTS", "60")
    return tmp_path


def a_cluster(notes: Path) -> OrgCluster:
    return OrgCluster("acme", notes / "config", "admin@acme", "agents")


def calls(notes: Path) -> list[str]:
    return (notes / "arguments").read_text().splitlines()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_port_is_known_and_the_process_ends_with_the_block(notes: Path) -> None:
    with Forward(a_cluster(notes), TARGET, 0) as forward:
        assert forward.port == 40404
        pid = int((notes / "pids").read_text())
        assert runs(pid)
    assert not runs(pid)
    assert calls(notes) == [
        f"--kubeconfig {notes}/config --context admin@acme --namespace agents "
        "port-forward --address 127.0.0.1 service/fix-12345 :8443"
    ]


def test_no_password_is_in_any_argument(notes: Path) -> None:
    """I8."""
    with Forward(a_cluster(notes), TARGET, 0):
        assert "sesame" not in calls(notes)[0]
    assert "sesame" not in repr(TARGET) + repr(EditorAddress("http://x", "sesame"))


def test_a_lost_connection_is_restored_on_the_same_port(
    notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LASTS", "0.2")
    # How long it retries after the last loss.
    monkeypatch.setattr("guildnet_cli.cluster.port_forward.READY_WITHIN_SECONDS", 10)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with Forward(a_cluster(notes), TARGET, 0) as forward:
        serving = threading.Thread(target=forward.serve)
        serving.start()
        deadline = time.monotonic() + 30
        while len(calls(notes)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # Replaced in one step, because a shell reads its script while it runs.
        broken = notes / "broken"
        broken.write_text("#!/bin/sh\nexit 1\n")
        broken.chmod(0o755)
        broken.replace(notes / "kubectl")
        serving.join(60)
        assert not serving.is_alive()
    assert all(call.endswith("service/fix-12345 40404:8443") for call in calls(notes)[1:])


def test_the_error_has_the_output_of_kubectl(notes: Path) -> None:
    """I10."""
    (notes / "kubectl").write_text("#!/bin/sh\necho 'error: no such service' >&2\nexit 1\n")
    with (
        pytest.raises(KubeUnavailable, match="error: no such service") as refused,
        Forward(a_cluster(notes), TARGET, 0),
    ):
        pass
    assert refused.value.place == "agents/fix-12345"
    assert refused.value.cure is not None
