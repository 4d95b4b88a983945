"""Attacks of a hostile command on the supervisor fail, and the state reports them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.functional.agent.conftest import is_running, wait_for

from guildnet_agent.supervisor.listener import MAX_FROM_WITHIN

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Forge, NextRun, Pod


def test_artifacts_cannot_leave_their_folder_or_exceed_the_limits(run: NextRun) -> None:
    """I9: links, pipes, oversize, bad names and bad content are refused, each with its reason."""
    key = run.pod.folder / "agent" / "api-key"
    state = run.to_end(
        run.pod.spec(
            "cd ~/.guildnet/state; echo '{}' > good.json; echo '{' > broken.json;"
            f"ln -s {key} link.json; mkfifo pipe.json; echo '{{}}' > Bad-Name.json;"
            'head -c 300000 /dev/zero > big.json; echo \'{"url": "forged"}\' > last_pr.json;'
            # Directly into the exchange, not through the shim.
            f"mkdir -p {run.out}/artifacts; ln -s {key} {run.out}/artifacts/key.json"
        )
    )
    assert [item["name"] for item in state["artifacts"]] == ["good.json"]
    rejected = {item["name"]: item["reason"] for item in state["rejectedArtifacts"]}
    assert rejected == {
        "Bad-Name.json": "Invalid",
        "big.json": "TooLarge",
        "broken.json": "Invalid",
        "key.json": "Invalid",
        "last_pr.json": "Invalid",
        "link.json": "Invalid",
        "pipe.json": "Invalid",
    }
    assert state["outcome"] == "Succeeded"
    assert state["pullRequest"] is None
    for name in ("link.json", "key.json", "last_pr.json"):
        assert run.pod.ask("GET", f"/artifacts/{name}").status_code == 404


def test_a_new_run_starts_without_earlier_artifacts(run: NextRun) -> None:
    """Artifacts of an earlier run do not count as this run's."""
    state = run.to_end(run.pod.spec("true"))
    assert state["artifacts"] == []
    assert state["rejectedArtifacts"] == []
    assert run.pod.ask("GET", "/artifacts/good.json").status_code == 404


def test_a_result_that_is_a_link_is_refused(run: NextRun) -> None:
    """I9: the supervisor does not follow links in the exchange."""
    secret = run.pod.folder / "git" / "forge" / "token"
    state = run.to_end(run.pod.spec(f"ln -s {secret} {run.out}/result.json; sleep 2"))
    assert state["outcome"] == "Failed"
    assert "not a regular file" in state["failure"]["message"]
    assert "forge-token" not in json.dumps(state)
    assert run.pod.forge.tip(run.branch) is None


def test_a_forged_result_for_another_start_is_refused(run: NextRun) -> None:
    """A result of another start, or a malformed one, fails this start."""
    forged = '{"id": {"run": 99, "attempt": 1, "start": 1}, "exit_code": 0}'
    state = run.to_end(run.pod.spec(f"echo '{forged}' > {run.out}/result.json; sleep 2"))
    assert state["outcome"] == "Failed"
    assert f"run {run.number}, attempt 1, start 1" in state["failure"]["message"]
    assert state["run"] == run.number


def test_hooks_and_configuration_in_the_work_tree_cannot_escape(run: NextRun) -> None:
    """The supervisor runs no git in the command's trees, so planted hooks never run with it."""
    mark = run.pod.folder / "hooked"
    url = run.pod.forge.url()
    hooks = "pre-push post-checkout post-commit pre-commit reference-transaction post-merge"
    state = run.to_end(
        run.pod.spec(
            f"for name in {hooks}; do printf '#!/bin/sh\\necho $0 >> {mark}\\n'"
            " > .git/hooks/$name; chmod +x .git/hooks/$name; done;"
            f"git config core.fsmonitor 'touch {mark}'; git config core.sshCommand 'touch {mark}';"
            f"git config url.http://127.0.0.1:1/.insteadOf {url}; echo x > x.txt"
        )
    )
    assert state["published"]["reason"] == "PullRequestOpened", state
    assert not mark.exists()
    assert run.pod.forge.show(f"{run.branch}:x.txt") == "x"


def test_rewritten_history_is_not_pushed(run: NextRun) -> None:
    """Work must build on the cloned commit; nothing is force-pushed."""
    state = run.to_end(
        run.pod.spec("git checkout -q --orphan other; git commit -qm 'Nothing of yours'")
    )
    assert state["outcome"] == "Failed"
    assert state["failure"]["reason"] == "PushRejected"
    assert "does not build on the commit" in state["failure"]["message"]
    assert run.pod.forge.tip(run.branch) is None


def test_malformed_objects_are_not_pushed(run: NextRun) -> None:
    """Every object of a bundle is checked: a tree that contains `.git` is refused."""
    script = (
        "import subprocess as s\n"
        "run = lambda *a, i=None: s.run(a, input=i, check=True, stdout=s.PIPE).stdout.strip()\n"
        "blob = run('git', 'hash-object', '-w', '--stdin', i=b'evil')\n"
        "tree = b'100644 .git\\0' + bytes.fromhex(blob.decode())\n"
        "tree = run(*'git hash-object -t tree -w --stdin --literally'.split(), i=tree)\n"
        "evil = run('git', 'commit-tree', '-p', 'HEAD', '-m', 'evil', tree)\n"
        "good = run('git', 'commit-tree', '-p', evil, '-m', 'good', 'HEAD^{tree}')\n"
        "run('git', 'update-ref', 'HEAD', good)\n"
    )
    (run.pod.folder / "evil.py").write_text(script)
    state = run.to_end(run.pod.spec(f"python3 {run.pod.folder}/evil.py"))
    assert state["exitCode"] == 0, state
    assert state["failure"]["reason"] == "PushRejected"
    assert "hasDotgit" in state["failure"]["message"]
    assert run.pod.forge.tip(run.branch) is None


def test_a_branch_of_others_is_not_overwritten(run: NextRun) -> None:
    """A branch with the same name and other commits stays; the message has the cure."""
    forge = run.pod.forge
    seed = forge.root / "seed"
    (seed / "theirs.txt").write_text("theirs")
    for words in ("add .", "commit -qm theirs", f"push -q origin HEAD:{run.branch}"):
        subprocess.run(["git", *words.split()], cwd=seed, check=True)
    before = forge.tip(run.branch)
    state = run.to_end(run.pod.spec("test ! -e theirs.txt && echo x > x.txt"))
    assert state["failure"]["reason"] == "PushRejected"
    assert "somebody else moved the branch" in state["failure"]["message"]
    assert forge.tip(run.branch) == before


def test_a_flood_of_output_is_bounded_and_redacted(run: NextRun) -> None:
    """I8, I9: the log is bounded on disk and in the state, and redacted across writes."""
    state = run.to_end(
        run.pod.spec(
            "head -c 3000000 /dev/zero | tr '\\0' x; echo; printf 'key: model-key-01';"
            'sleep 0.5; echo 23456789; printf %s "$MODEL_KEY" | base64; exit 1'
        )
    )
    size = sum(path.stat().st_size for path in run.out.glob("log*"))
    assert 0 < size <= 2 * 512 * 1024
    assert len(state["logTail"].encode()) <= 4096
    assert state["logTail"].endswith("key: ***\n***\n")
    assert "model-key" not in run.pod.log("shim")
    assert len(run.pod.ask("GET", "/logs?tail=999999").content) <= 64 * 1024


def test_secrets_in_artifacts_are_masked(run: NextRun) -> None:
    """I8: artifacts end on the status branch."""
    state = run.to_end(
        run.pod.spec('printf \'{"key": "%s"}\' "$MODEL_KEY" > ~/.guildnet/state/used.json')
    )
    assert [item["name"] for item in state["artifacts"]] == ["used.json"], state
    assert run.pod.ask("GET", "/artifacts/used.json").json() == {"key": "***"}


def test_stale_locks_do_not_block_the_work(run: NextRun) -> None:
    """I6: the work is handed over even if the command's git left a lock."""
    branch = run.branch
    state = run.to_end(
        run.pod.spec(
            "echo x > x.txt; touch .git/index.lock .git/HEAD.lock;"
            f"mkdir -p .git/refs/heads/{branch}; rmdir .git/refs/heads/{branch};"
            f"touch .git/refs/heads/{branch}.lock"
        )
    )
    assert state["published"]["reason"] == "PullRequestOpened", state
    assert run.pod.forge.show(f"{branch}:x.txt") == "x"


def test_ambiguous_json_artifacts_are_rejected(run: NextRun) -> None:
    """I9: each is rejected with its own reason, even a link named `larger`."""
    state = run.to_end(
        run.pod.spec(
            "cd ~/.guildnet/state; printf '[1, NaN]' > nan.json; ln -s /etc/passwd larger.json;"
            'printf \'{"a": 1, "a": 2}\' > twice.json; printf \'"\\ud800"\' > half.json;'
            "printf '\"\\377\"' > bytes.json; echo '{}' | iconv -t UTF-16 > wide.json;"
            'python3 -c \'print("[" * 90000 + "]" * 90000)\' > deep.json'
        )
    )
    assert state["artifacts"] == []
    reported = {
        item["name"]: (item["reason"], item["message"]) for item in state["rejectedArtifacts"]
    }
    said = {
        "bytes.json": "utf-8",
        "deep.json": "nested deeper",
        "half.json": "surrogate",
        "larger.json": "not a regular file",
        "nan.json": "NaN",
        "twice.json": "duplicate",
        "wide.json": "utf-8",
    }
    assert set(reported) == set(said)
    for name, words in said.items():
        assert reported[name][0] == "Invalid"
        assert words in reported[name][1]


def test_a_command_that_forged_its_result_is_ended(run: NextRun) -> None:
    """The command's processes are ended even if it forged its result."""
    identity = f'{{"run": {run.number}, "attempt": 1, "start": 1}}'
    forged = f'{{"id": {identity}, "exit_code": 0, "started_at": "2026-01-01T00:00:00Z"}}'
    pid = run.pod.workspace / "pid"
    state = run.to_end(
        run.pod.spec(f"echo '{forged}' > {run.out}/result.json; echo $$ > {pid}; exec sleep 600")
    )
    assert state["outcome"] == "Succeeded", "a command may say that it is done"
    wait_for("the command is gone", lambda: not is_running(int(pid.read_text())))


def test_a_command_with_a_refused_result_is_ended(run: NextRun) -> None:
    """Otherwise the next attempt would wait for this command without a deadline."""
    pid = run.pod.workspace / "pid"
    state = run.to_end(
        run.pod.spec(f"echo '[]' > {run.out}/result.json; echo $$ > {pid}; exec sleep 600")
    )
    assert state["outcome"] == "Failed"
    wait_for("the command is gone", lambda: not is_running(int(pid.read_text())))


def test_a_pipe_in_place_of_the_log_does_not_block_the_shim(run: NextRun) -> None:
    """The shim opens no file of the command that could block it, so the deadline holds."""
    pid = run.pod.workspace / "pid"
    run.pod.start(
        run.pod.spec(
            f"cd {run.out}; rm -f log; mkfifo log; rm -f ~/.guildnet/run; mkfifo ~/.guildnet/run;"
            f"mkfifo .result.json.new; echo hello; echo $$ > {pid}; exec sleep 600"
        ),
        run=run.number,
    )
    wait_for("the command runs", pid.exists)
    run.pod.ask("POST", "/stop", {"reason": "DeadlineExceeded"})
    wait_for("the command is gone", lambda: not is_running(int(pid.read_text())), 50)
    state = run.pod.wait_for_step("Stopped")
    assert state["outcome"] == "Stopped"
    # The next run finds the pipe next to the state folder.
    assert run.take().to_end(run.pod.spec("true"))["outcome"] == "Succeeded"


def test_a_result_left_for_a_later_start_is_refused(run: NextRun) -> None:
    """A command cannot prepare the result of its next attempt."""
    early = run.out.with_name(f"{run.number}.2.1")
    identity = f'{{"run": {run.number}, "attempt": 2, "start": 1}}'
    forged = f'{{"id": {identity}, "exit_code": 0, "started_at": "2026-01-01T00:00:00Z"}}'
    script = f"mkdir -p {early}; echo '{forged}' > {early}/result.json; exit 1"
    assert run.to_end(run.pod.spec(script))["outcome"] == "Failed"
    state = run.pod.run_to_end(run.pod.spec("true"), run=run.number, attempt=2)
    assert state["outcome"] == "Failed"
    assert "before that start was handed over" in state["failure"]["message"]
    assert state["failure"]["infrastructure"] is False


def test_a_result_with_a_lone_surrogate_ends_the_attempt(run: NextRun) -> None:
    """I6: text that cannot be encoded neither stops the supervisor nor counts as its failure."""
    identity = f'{{"run": {run.number}, "attempt": 1, "start": 1}}'
    forged = (
        f'{{"id": {identity}, "exit_code": 0, "failure": "\\ud800",'
        ' "started_at": "2026-01-01T00:00:00Z"}'
    )
    (run.pod.folder / "forged").write_text(forged)
    script = f"cp {run.pod.folder}/forged {run.out}/result.json; sleep 2"
    state = run.to_end(run.pod.spec(script))
    assert state["failure"]["reason"] == "TaskFailed", state
    assert state["failure"]["infrastructure"] is False


def test_processes_of_a_git_filter_are_ended(run: NextRun) -> None:
    """git runs filters that the work tree configures, also during the handover."""
    pid = run.pod.workspace / "pid"
    leave = f"setsid sh -c 'echo $$ > {pid}; exec sleep 600' > /dev/null 2>&1 < /dev/null &"
    (run.pod.folder / "filter.sh").write_text(f"{leave}\nuntil test -s {pid}; do :; done\ncat\n")
    state = run.to_end(
        run.pod.spec(
            f"git config filter.f.clean 'sh {run.pod.folder}/filter.sh';"
            f"rm -f {pid}; echo '*.txt filter=f' > .gitattributes; echo x > x.txt"
        )
    )
    assert state["published"]["reason"] == "PullRequestOpened", state
    assert run.pod.forge.show(f"{run.branch}:x.txt") == "x"
    wait_for("what the filter left is gone", lambda: not is_running(int(pid.read_text())))


def test_a_small_bundle_that_unpacks_to_too_much_is_refused(pod: Pod, forge: Forge) -> None:
    """I9: the unpacked size is limited before git unpacks; the message names the limit."""
    pod.settings = {"MAX_UNPACKED_BYTES": "10000000"}
    pod.start_halves()
    state = pod.run_to_end(pod.spec("head -c 20000000 /dev/zero > zeros"))
    assert (pod.out / "1.1.1" / "work.bundle").stat().st_size < 100_000
    assert state["failure"]["reason"] == "PushRejected"
    assert "unpacks to more than 10000000 bytes" in state["failure"]["message"]
    assert forge.branches() == {"main"}


def test_connections_from_within_the_pod_cannot_lock_out_the_operator(pod: Pod) -> None:
    """The command can open a few connections to the agent API, but never use up all."""
    pod.start_supervisor()
    with contextlib.ExitStack() as held:
        address = ("127.0.0.1", pod.port)
        ours = [held.enter_context(socket.create_connection(address, 10)) for _ in range(80)]

        def open_ones() -> int:
            return sum(not is_hung_up(connection) for connection in ours)

        wait_for("most are hung up", lambda: open_ones() <= MAX_FROM_WITHIN)
        assert open_ones() == MAX_FROM_WITHIN
        assert pod.ask("GET", "/state").status_code == 200


def test_a_port_in_use_is_reported(pod: Pod) -> None:
    """I10: if another process uses the supervisor's port, the supervisor's log says so."""
    with socket.create_server(("127.0.0.1", pod.port)):
        pod.run_half("supervisor")
        assert pod.processes.pop("supervisor").wait(timeout=60) == 1
    assert f"127.0.0.1:{pod.port}: cannot listen" in pod.log("supervisor")


def is_hung_up(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
