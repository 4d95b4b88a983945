"""After any interruption: one pull request, no lost work, and no command runs twice (I7)."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING

from guildnet_agent.shim.processes import list_processes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.functional.agent.conftest import Forge, Pod

COUNTED = 'echo ran >> "$GUILDNET_WORKSPACE/count"; '


def times_run(pod: Pod) -> int:
    return len((pod.workspace / "count").read_text().splitlines())


def until(what: str, look: object, seconds: float = 120) -> None:
    assert callable(look)
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    process = list_processes().get(pid)
    return process is not None and not process.is_zombie


def written_pid(path: Path) -> int:
    until(f"{path.name} is written", lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


def test_killed_between_push_and_pull_request(pod: Pod, forge: Forge) -> None:
    """I7: the pushed branch is found, one pull request opened, and the command ran once."""
    reached, release = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> str | None:
        if method == "POST" and path.endswith("/pulls") and not reached.is_set():
            reached.set()
            release.wait(30)
            return "drop"
        return None

    forge.fault = hold
    pod.start_halves()
    pod.start(pod.spec(COUNTED + "echo x > x.txt"))
    assert reached.wait(120)
    pod.kill("supervisor")
    release.set()
    assert forge.tip("guildnet/acme/fix")
    assert forge.created == 0
    pod.start_supervisor()
    state = pod.wait_for_step("Finished")
    assert state["outcome"] == "Succeeded"
    assert state["pullRequest"]["number"] == 1
    assert (forge.created, len(forge.pulls), times_run(pod)) == (1, 1, 1)

    pod.kill("supervisor")
    pod.start_supervisor()
    assert pod.state() == state
    assert forge.created == 1


def test_killed_while_the_command_runs(pod: Pod, forge: Forge) -> None:
    """I7: a restarted supervisor waits for the running command and does not start it again."""
    pod.start_halves()
    gate = pod.folder / "gate"
    pod.start(pod.spec(COUNTED + f"until test -e {gate}; do sleep 0.1; done; echo x > x.txt"))
    started = pod.wait_for_step("Running")["startedAt"]
    pod.kill("supervisor")
    gate.touch()
    pod.start_supervisor()
    state = pod.wait_for_step("Finished")
    assert state["outcome"] == "Succeeded"
    assert state["startedAt"] == started
    assert (forge.created, times_run(pod)) == (1, 1)


def test_the_work_container_restarts_while_the_command_runs(pod: Pod, forge: Forge) -> None:
    """I7: a restarted shim does not run the command again, even where its marks were removed; the
    work so far is saved, and the start is lost, not the attempt."""
    pod.start_halves()
    # Not ended with the shim here, as it is with its container: by its own pid below.
    command = COUNTED + "echo half > half.txt; echo $$ > ../pid; exec sleep 300"
    pod.start(pod.spec(command))
    pid = written_pid(pod.workspace / "pid")
    pod.wait_for_step("Running")
    pod.kill("shim")
    os.kill(pid, signal.SIGKILL)
    shutil.rmtree(pod.out / "1.1.1")
    pod.start_shim()
    state = pod.wait_for_step("Finished")
    assert state["failure"]["reason"] == "ContainerRestarted"
    assert state["failure"]["infrastructure"] is True
    assert state["published"]["reason"] == "BranchPushed"
    assert forge.show("guildnet/acme/fix:half.txt") == "half"
    assert times_run(pod) == 1

    state = pod.run_to_end(pod.spec("test -e half.txt && echo x > x.txt"), start=2)
    assert state["outcome"] == "Succeeded"
    assert forge.created == 1


def test_a_lost_pod_and_workspace_are_found_again_by_name(pod: Pod, forge: Forge) -> None:
    """I7: a new pod with an empty workspace continues the run's branch and pull request."""
    pod.start_halves()
    pod.run_to_end(pod.spec("echo 1 > one.txt"))
    pod.lose_pod()
    shutil.rmtree(pod.workspace)
    pod.workspace.mkdir()
    pod.start_halves()
    state = pod.run_to_end(pod.spec("cat one.txt && echo 2 > two.txt"), start=2)
    assert state["outcome"] == "Succeeded", pod.log("shim")
    assert forge.show("guildnet/acme/fix:two.txt") == "2"
    assert state["pullRequest"]["number"] == 1
    assert forge.created == 1


def test_the_forge_is_down_then_loses_its_answer(pod: Pod, forge: Forge) -> None:
    """I7: publishing is retried without the command; a pull request whose answer was lost is
    found, not opened again."""
    created = threading.Event()

    def fail(method: str, path: str) -> str | None:
        if path.endswith("/pulls") and not is_up.is_set():
            return "503"
        if method == "POST" and path.endswith("/pulls") and not created.is_set():
            created.set()
            return "lose answer"
        return None

    is_up = threading.Event()
    forge.fault = fail
    pod.start_halves()
    pod.start(pod.spec(COUNTED + "echo x > x.txt"))

    def is_retrying() -> bool:
        return (pod.state()["published"] or {}).get("reason") == "Retrying"

    until("Retrying is shown", is_retrying)
    assert pod.state()["step"] == "Publishing"
    assert pod.state()["branch"] == "guildnet/acme/fix"
    is_up.set()
    state = pod.wait_for_step("Finished")
    assert state["published"]["reason"] == "PullRequestOpened"
    assert created.is_set()
    assert (forge.created, len(forge.pulls), times_run(pod)) == (1, 1, 1)


def test_stop_ends_even_a_double_forked_child_and_saves_the_work(pod: Pod, forge: Forge) -> None:
    """A detached process that ignores SIGTERM is ended within 20 s."""
    pod.start_halves()
    detached = (
        "import os, signal, sys, time\n"
        "if os.fork(): sys.exit()\n"
        "os.setsid()\n"
        "if os.fork(): sys.exit()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open('../detached', 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    (pod.folder / "detach.py").write_text(detached)
    script = f"echo x > x.txt; python3 {pod.folder}/detach.py; echo $$ > ../pid; sleep 600"
    pod.start(pod.spec(script))
    pids = [written_pid(pod.workspace / name) for name in ("pid", "detached")]
    began = time.monotonic()
    assert pod.ask("POST", "/stop", {"reason": "DeadlineExceeded"}).status_code == 202
    until("the command's processes are gone", lambda: not any(map(is_alive, pids)), 20)
    state = pod.wait_for_step("Stopped")
    assert time.monotonic() - began < 25
    assert state["outcome"] == "Stopped"
    assert state["failure"] is None
    assert state["published"]["reason"] == "BranchPushed"
    assert forge.show("guildnet/acme/fix:x.txt") == "x"
    assert forge.created == 0


def test_processes_that_the_command_left_are_ended(pod: Pod, forge: Forge) -> None:
    """A background process neither delays the end nor outlives the command."""
    pod.start_halves()
    state = pod.run_to_end(pod.spec("sleep 600 & echo $! > ../pid; echo x > x.txt"))
    assert state["outcome"] == "Succeeded"
    assert not is_alive(written_pid(pod.workspace / "pid"))


def test_the_pod_ends_with_the_work_pushed(pod: Pod, forge: Forge) -> None:
    """The kubelet sends SIGTERM to both containers; the work is pushed to its branch."""
    pod.start_halves()
    pod.start(pod.spec("echo x > x.txt; echo $$ > ../pid; sleep 600"))
    written_pid(pod.workspace / "pid")
    assert pod.terminate("shim") == 0
    assert pod.terminate("supervisor") == 0
    assert forge.show("guildnet/acme/fix:x.txt") == "x"
    assert forge.created == 0
