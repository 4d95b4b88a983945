"""What a hostile command may try against the supervisor gets nowhere, and state says what."""

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


def test_artifacts_cannot_lead_out_of_their_folder_or_be_too_much(run: NextRun) -> None:
    """I9: links, pipes, oversize, bad names and bad content are refused, each with its reason."""
    key = run.pod.folder / "agent" / "api-key"
    state = run.to_end(
        run.pod.spec(
            "cd ~/.guildnet/state; echo '{}' > good.json; echo '{' > broken.json;"
            f"ln -s {key} link.json; mkfifo pipe.json; echo '{{}}' > Bad-Name.json;"
            'head -c 300000 /dev/zero > big.json; echo \'{"url": "forged"}\' > last_pr.json;'
            # Past the shim, straight into the exchange.
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


def test_a_new_run_begins_without_the_artifacts_of_the_one_before(run: NextRun) -> None:
    """What an earlier run left is not taken for this one's."""
    state = run.to_end(run.pod.spec("true"))
    assert state["artifacts"] == []
    assert state["rejectedArtifacts"] == []
    assert run.pod.ask("GET", "/artifacts/good.json").status_code == 404


def test_a_result_that_is_a_link_is_refused(run: NextRun) -> None:
    """I9: the supervisor follows no link out of the exchange."""
    secret = run.pod.folder / "git" / "forge" / "token"
    state = run.to_end(run.pod.spec(f"ln -s {secret} {run.out}/result.json; sleep 2"))
    assert state["outcome"] == "Failed"
    assert "not a regular file" in state["failure"]["message"]
    assert "forge-token" not in json.dumps(state)
    assert run.pod.forge.tip(run.branch) is None


def test_a_forged_result_names_no_other_start(run: NextRun) -> None:
    """A result of another start, or of no shape, ends this one as refused."""
    forged = '{"id": {"run": 99, "attempt": 1, "start": 1}, "exit_code": 0}'
    state = run.to_end(run.pod.spec(f"echo '{forged}' > {run.out}/result.json; sleep 2"))
    assert state["outcome"] == "Failed"
    assert f"run {run.number}, attempt 1, start 1" in state["failure"]["message"]
    assert state["run"] == run.number


def test_hooks_and_configuration_in_the_work_tree_reach_nobody(run: NextRun) -> None:
    """The supervisor runs git in no tree of the command's: planted hooks never run with it."""
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


def test_history_that_was_rewritten_is_not_pushed(run: NextRun) -> None:
    """Work must go on from what was cloned; never forced."""
    state = run.to_end(
        run.pod.spec("git checkout -q --orphan other; git commit -qm 'Nothing of yours'")
    )
    assert state["outcome"] == "Failed"
    assert state["failure"]["reason"] == "PushRejected"
    assert "does not build on the commit" in state["failure"]["message"]
    assert run.pod.forge.tip(run.branch) is None


def test_malformed_objects_are_not_passed_on(run: NextRun) -> None:
    """A bundle is checked object by object: a tree with `.git` in it goes nowhere."""
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


def test_a_branch_that_is_not_ours_is_not_overwritten(run: NextRun) -> None:
    """A branch of the same name and other work is left alone; the refusal names the cure."""
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


def test_a_flood_of_output_stays_bounded_and_secrets_stay_out(run: NextRun) -> None:
    """I8, I9: the log is bounded on disk and in the state, and redacted in pieces."""
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


def test_a_secret_in_an_artifact_goes_no_further(run: NextRun) -> None:
    """I8: artifacts end on the status branch."""
    state = run.to_end(
        run.pod.spec('printf \'{"key": "%s"}\' "$MODEL_KEY" > ~/.guildnet/state/used.json')
    )
    assert [item["name"] for item in state["artifacts"]] == ["used.json"], state
    assert run.pod.ask("GET", "/artifacts/used.json").json() == {"key": "***"}


def test_locks_of_a_git_that_was_killed_hold_up_no_work(run: NextRun) -> None:
    """I6: what the command did is handed over also when its last git left a lock behind."""
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


def test_artifacts_that_two_readers_would_read_differently_are_refused(run: NextRun) -> None:
    """I9: each with its reason, also a link whose name says `larger`."""
    state = run.to_end(
        run.pod.spec(
            "cd ~/.guildnet/state; printf '[1, NaN]' > nan.json; ln -s /etc/passwd larger.json;"
            'printf \'{"a": 1, "a": 2}\' > twice.json; printf \'"\\ud800"\' > half.json;'
            "printf '\"\\377\"' > bytes.json; echo '{}' | iconv -t UTF-16 > wide.json;"
            'python3 -c \'print("[" * 90000 + "]" * 90000)\' > deep.json'
        )
    )
    assert state["artifacts"] == []
    told = {item["name"]: (item["reason"], item["message"]) for item in state["rejectedArtifacts"]}
    said = {
        "bytes.json": "utf-8",
        "deep.json": "nested deeper",
        "half.json": "surrogate",
        "larger.json": "not a regular file",
        "nan.json": "NaN",
        "twice.json": "duplicate",
        "wide.json": "utf-8",
    }
    assert set(told) == set(said)
    for name, words in said.items():
        assert told[name][0] == "Invalid"
        assert words in told[name][1]


def test_a_forged_result_does_not_let_the_command_run_on(run: NextRun) -> None:
    """The command's processes are gone after its end, also where it forged that end."""
    identity = f'{{"run": {run.number}, "attempt": 1, "start": 1}}'
    forged = f'{{"id": {identity}, "exit_code": 0, "started_at": "2026-01-01T00:00:00Z"}}'
    pid = run.pod.workspace / "pid"
    state = run.to_end(
        run.pod.spec(f"echo '{forged}' > {run.out}/result.json; echo $$ > {pid}; exec sleep 600")
    )
    assert state["outcome"] == "Succeeded", "a command may say that it is done"
    wait_for("the command is gone", lambda: not is_running(int(pid.read_text())))


def test_a_refused_result_does_not_let_the_command_run_on(run: NextRun) -> None:
    """Else the next attempt would wait for this one's command, without any deadline."""
    pid = run.pod.workspace / "pid"
    state = run.to_end(
        run.pod.spec(f"echo '[]' > {run.out}/result.json; echo $$ > {pid}; exec sleep 600")
    )
    assert state["outcome"] == "Failed"
    wait_for("the command is gone", lambda: not is_running(int(pid.read_text())))


def test_a_pipe_in_the_place_of_its_log_does_not_hold_up_its_end(run: NextRun) -> None:
    """The deadline holds: the shim opens nothing of the command's that could make it wait."""
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
    # The pipe beside the state folder is the next run's to meet.
    assert run.take().to_end(run.pod.spec("true"))["outcome"] == "Succeeded"


def test_words_for_a_start_that_was_not_told_are_refused(run: NextRun) -> None:
    """A command cannot leave the result of its next attempt."""
    early = run.out.with_name(f"{run.number}.2.1")
    identity = f'{{"run": {run.number}, "attempt": 2, "start": 1}}'
    forged = f'{{"id": {identity}, "exit_code": 0, "started_at": "2026-01-01T00:00:00Z"}}'
    script = f"mkdir -p {early}; echo '{forged}' > {early}/result.json; exit 1"
    assert run.to_end(run.pod.spec(script))["outcome"] == "Failed"
    state = run.pod.run_to_end(run.pod.spec("true"), run=run.number, attempt=2)
    assert state["outcome"] == "Failed"
    assert "before that start was handed over" in state["failure"]["message"]
    assert state["failure"]["infrastructure"] is False


def test_a_result_with_half_a_surrogate_pair_costs_the_attempt(run: NextRun) -> None:
    """I6: what cannot be written as text neither stops the supervisor nor counts as its fault."""
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


def test_a_filter_of_the_work_tree_leaves_nothing_running(run: NextRun) -> None:
    """git runs what the tree's configuration names, also when the work is handed over."""
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


def test_a_small_bundle_that_unpacks_to_much_is_refused(pod: Pod, forge: Forge) -> None:
    """I9: sizes are bounded as unpacked, before git unpacks; status says which bound."""
    pod.settings = {"MAX_UNPACKED_BYTES": "10000000"}
    pod.start_halves()
    state = pod.run_to_end(pod.spec("head -c 20000000 /dev/zero > zeros"))
    assert (pod.out / "1.1.1" / "work.bundle").stat().st_size < 100_000
    assert state["failure"]["reason"] == "PushRejected"
    assert "unpacks to more than 10000000 bytes" in state["failure"]["message"]
    assert forge.branches() == {"main"}


def test_connections_from_within_the_pod_do_not_crowd_out_the_operator(pod: Pod) -> None:
    """The command can hold a few of the agent API's connections, never all of them."""
    pod.start_supervisor()
    with contextlib.ExitStack() as held:
        address = ("127.0.0.1", pod.port)
        ours = [held.enter_context(socket.create_connection(address, 10)) for _ in range(80)]

        def open_ones() -> int:
            return sum(not is_hung_up(connection) for connection in ours)

        wait_for("most are hung up", lambda: open_ones() <= MAX_FROM_WITHIN)
        assert open_ones() == MAX_FROM_WITHIN
        assert pod.ask("GET", "/state").status_code == 200


def test_a_port_that_is_taken_is_named(pod: Pod) -> None:
    """I10: nobody answers in the supervisor's place without its own log saying so."""
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
