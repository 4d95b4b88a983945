"""`guildnet bootstrap` on a real Gitea: from nothing to a reconciler that syncs."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.functional.bootstrap.conftest import free_address

from guildnet.errors import ConfigurationError
from guildnet_cli.bootstrap.host_keys import SshServer

if TYPE_CHECKING:
    from tests.functional.bootstrap.conftest import Machine, Site


# Its cluster has no kubeconfig here: that is what its record on the status branch will say.
ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
"""
RECORDED = "the kubeconfig 'acme' is missing"


def actions(output: str) -> dict[str, str]:
    return {step["item"]: step["action"] for step in json.loads(output)["steps"]}


CREATED = {
    "repository": "create",
    "template": "create",
    "deploy key": "create",
    "webhook": "create",
    "protection of main": "create",
    "protection of status": "create",
    "SSH host keys": "create",
}


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
    return found


@contextmanager
def running(command: list[str], machine: Machine) -> Iterator[Path]:
    """Run a service; gives the file that it logs to."""
    log = machine.folder / "reconciler.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=machine.environment, stdout=output, stderr=output)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_a_reconciler_works_with_what_bootstrap_made(site: Site, machine: Machine) -> None:
    name, listen = site.new_name(), free_address()
    made = machine.bootstrap(
        *(site.page(name), "--webhook-url", f"http://{listen}", "--approvals", "0"),
        *("--yes", "-o", "json"),
        token=site.owner_token,
    )
    assert made.returncode == 0, made.stderr
    assert actions(made.stdout) == CREATED
    files = [path for path in (machine.folder / "state/bootstrap").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"webhook-secret", "ssh-privatekey", "known_hosts"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    for path in files:
        assert path.name == "known_hosts" or path.read_text().strip() not in made.stdout

    # Polling is an hour away: only the webhook can bring the push in time.
    printed = shlex.split(made.stderr.strip().splitlines()[-1])
    assert printed[0] == "guildnet"
    command = [sys.executable, "-m", "guildnet_cli.main", *printed[1:]]
    command += ["--listen", listen, "--poll", "1h"]
    clone = machine.folder / "clone"
    url = site.clone_url(name, site.owner_token)
    assert machine.git("clone", "-q", url, str(clone)).returncode == 0
    with running(command, machine) as log:
        eventually(lambda: "status" in heads(site, name))
        (clone / "orgs").mkdir()
        (clone / "orgs/acme.yaml").write_text(ORG)
        change_main_by_pull_request(site, machine, name, clone)
        try:
            eventually(lambda: RECORDED in status_branch(site, name))
        except AssertionError:
            raise AssertionError(log.read_text()[-3000:]) from None

    again = machine.bootstrap(
        *(site.page(name), "--webhook-url", f"http://{listen}", "--approvals", "0", "-o", "json"),
        token=site.owner_token,
    )
    assert again.returncode == 0, again.stderr
    assert set(actions(again.stdout).values()) == {"keep"}
    assert "Nothing to do" in again.stderr
    person_is_held_back(site, machine, name, clone)


def heads(site: Site, name: str) -> set[str]:
    answer = api(site, "GET", f"/repos/{name}/branches")
    return {branch["name"] for branch in answer}


def api(site: Site, method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"token {site.owner_token}"}
    url = f"{site.url}/api/v1{path}"
    answer = httpx.request(method, url, json=body, headers=headers, timeout=30)
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None


def change_main_by_pull_request(site: Site, machine: Machine, name: str, clone: Path) -> None:
    """Merge the files of the work tree into main."""
    identity = ("-c", "user.name=Owner", "-c", "user.email=owner@example.com")
    machine.git("switch", "-q", "-c", "change", cwd=clone)
    machine.git("add", "--all", cwd=clone)
    assert machine.git(*identity, "commit", "-q", "-m", "Change", cwd=clone).returncode == 0
    assert machine.git("push", "-q", "origin", "change", cwd=clone).returncode == 0
    body = {"head": "change", "base": "main", "title": "Change"}
    opened = api(site, "POST", f"/repos/{name}/pulls", body)
    site.admin.merge_pull_request(name, opened["number"])


def status_branch(site: Site, name: str) -> str:
    """The text of all files of the status branch."""
    tree = api(site, "GET", f"/repos/{name}/git/trees/status?recursive=true")["tree"]
    paths = [entry["path"] for entry in tree if entry["type"] == "blob"]
    found = [site.admin.read_file(name, path, "status") for path in paths]
    return "".join((content or b"").decode() for content in found)


def person_is_held_back(site: Site, machine: Machine, name: str, clone: Path) -> None:
    site.admin.add_collaborator(name, "person", "admin")
    for token in (site.person_token, site.owner_token):
        url = site.clone_url(name, token)
        for branch in ("status", "main"):
            machine.git("fetch", "-q", url, branch, cwd=clone)
            tip = machine.git("rev-parse", "FETCH_HEAD", cwd=clone).stdout.strip()
            next_one, unrelated = (new_commit(machine, clone, one) for one in (tip, None))
            assert refused(machine, clone, url, f"{next_one}:refs/heads/{branch}")
            assert refused(machine, clone, url, f"+{unrelated}:refs/heads/{branch}")
            # main is the default branch, which nobody can delete anyway.
            assert branch == "main" or refused(machine, clone, url, f":refs/heads/{branch}")
        # The same push to an unprotected branch shows that the account may write.
        other = new_commit(machine, clone, None)
        assert not refused(machine, clone, url, f"{other}:refs/heads/other-{token[:4]}")


def new_commit(machine: Machine, clone: Path, parent: str | None) -> str:
    identity = ("-c", "user.name=P", "-c", "user.email=p@example.com")
    parents = ("-p", parent) if parent else ()
    words = ("commit-tree", *parents, "-m", "Mine", f"{parent or 'HEAD'}^{{tree}}")
    return machine.git(*identity, *words, cwd=clone).stdout.strip()


def refused(machine: Machine, clone: Path, url: str, refspec: str) -> bool:
    done = machine.git("push", "-q", url, refspec, cwd=clone)
    assert done.returncode == 0 or "protected" in done.stderr, done.stderr
    return done.returncode != 0


def test_without_yes_a_script_gets_the_plan_and_nothing_changes(
    site: Site, machine: Machine
) -> None:
    name = site.new_name()
    planned = machine.bootstrap(site.page(name), "-o", "json", token=site.owner_token)
    assert planned.returncode == 1
    assert "give --yes" in planned.stderr
    assert json.loads(planned.stdout)["applied"] is False
    assert actions(planned.stdout)["repository"] == "create"
    assert not (machine.folder / "state").exists()
    with pytest.raises(AssertionError, match="404"):
        api(site, "GET", f"/repos/{name}")


def test_an_interrupted_bootstrap_is_completed(site: Site, machine: Machine) -> None:
    """What is missing or was weakened is made again; what is there stays."""
    name, hook = site.new_name(), "http://127.0.0.1:1/webhook/gitea"
    arguments = (site.page(name), "--webhook-url", hook, "--yes", "-o", "json")
    site.admin.create_repository(name)
    first = machine.bootstrap(*arguments, token=site.owner_token)
    assert actions(first.stdout) == {**CREATED, "repository": "keep"}
    [folder] = (machine.folder / "state/bootstrap").iterdir()
    # As if the process had ended between the two halves of setting the webhook's secret.
    (folder / "webhook-secret").rename(folder / "webhook-secret.new")
    api(site, "DELETE", f"/repos/{name}/branch_protections/status")
    api(site, "PATCH", f"/repos/{name}/branch_protections/main", {"enable_force_push": True})
    key = (folder / "git/ssh-privatekey").read_bytes()

    second = machine.bootstrap(*arguments, token=site.owner_token)

    assert second.returncode == 0, second.stderr
    assert actions(second.stdout) == {
        **dict.fromkeys(CREATED, "keep"),
        "webhook": "change",
        "protection of main": "change",
        "protection of status": "create",
    }
    assert (folder / "webhook-secret").is_file()
    assert not (folder / "webhook-secret.new").exists()
    assert (folder / "git/ssh-privatekey").read_bytes() == key
    assert len(api(site, "GET", f"/repos/{name}/hooks")) == 1
    third = machine.bootstrap(*arguments, token=site.owner_token)
    assert set(actions(third.stdout).values()) == {"keep"}


def test_stricter_settings_stay(site: Site, machine: Machine) -> None:
    name = site.new_name()
    arguments = (site.page(name), "--yes", "-o", "json")
    machine.bootstrap(*arguments, token=site.owner_token)
    path = f"/repos/{name}/branch_protections/main"
    api(site, "PATCH", path, {"required_approvals": 3, "require_signed_commits": True})
    again = machine.bootstrap(*arguments, token=site.owner_token)
    assert actions(again.stdout)["protection of main"] == "keep"
    assert api(site, "GET", path)["required_approvals"] == 3


def test_a_repository_with_other_files_is_refused(site: Site, machine: Machine) -> None:
    """I1: nobody's repository is overwritten."""
    name = site.new_name()
    site.admin.create_repository(name)
    body = {"content": "IyBNaW5lCg==", "message": "Mine", "branch": "main"}
    api(site, "POST", f"/repos/{name}/contents/README.md", body)
    refused = machine.bootstrap(site.page(name), "--yes", token=site.owner_token)
    assert refused.returncode == 1
    assert "not a state repository" in refused.stderr
    assert "Nothing was changed" in refused.stderr
    assert api(site, "GET", f"/repos/{name}/keys") == []
    assert api(site, "GET", f"/repos/{name}/branch_protections") == []


def test_a_token_without_permissions_is_named_with_what_it_needs(
    site: Site, machine: Machine
) -> None:
    name = site.new_name()
    denied = machine.bootstrap(site.page(name), "--yes", token=site.person_token)
    assert denied.returncode == 1
    assert "write:repository" in denied.stderr
    assert "write:organization" in denied.stderr
    empty = machine.bootstrap(site.page(name), "--yes", "--token-file", "gone", token="unused")
    assert "no token for the forge" in empty.stderr


def test_another_machine_gets_a_key_and_a_secret_of_its_own(
    site: Site, machine: Machine, tmp_path: Path
) -> None:
    """The plan says so, because the first machine's webhook secret is replaced."""
    name = site.new_name()
    arguments = (site.page(name), "--webhook-url", "http://127.0.0.1:1", "--yes", "-o", "json")
    machine.bootstrap(*arguments, token=site.owner_token)
    [known_hosts] = (machine.folder / "state").rglob("known_hosts")
    other = type(machine)(tmp_path / "other")
    other.folder.mkdir()

    given = ("--known-hosts", str(known_hosts))
    made = other.bootstrap(*arguments, *given, token=site.owner_token)

    assert actions(made.stdout) == {
        **dict.fromkeys(CREATED, "keep"),
        "deploy key": "create",
        "webhook": "change",
        "SSH host keys": "create",
    }
    [hook] = [step for step in json.loads(made.stdout)["steps"] if step["item"] == "webhook"]
    assert "a new secret, because this machine has none" in hook["detail"]
    assert len(api(site, "GET", f"/repos/{name}/keys")) == 2
    assert len(api(site, "GET", f"/repos/{name}/hooks")) == 1
    again = other.bootstrap(*arguments, *given, token=site.owner_token)
    assert set(actions(again.stdout).values()) == {"keep"}


def test_a_person_is_asked_and_may_refuse(site: Site, machine: Machine) -> None:
    name = site.new_name()
    command = [sys.executable, "-m", "guildnet_cli.main", "bootstrap", site.page(name)]
    environment = {**machine.environment, "GUILDNET_FORGE_TOKEN": site.owner_token}
    ours, theirs = os.openpty()
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=theirs, stderr=subprocess.PIPE, text=True
        )
        os.write(ours, b"n\n")
        _, said = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 1
    assert "protection of status" in said
    assert "Make these changes? [y/N]" in said
    with pytest.raises(AssertionError, match="404"):
        api(site, "GET", f"/repos/{name}")


def test_a_forge_without_ssh_is_named() -> None:
    host, _, port = free_address().rpartition(":")
    with pytest.raises(ConfigurationError, match="no SSH server answers") as refused:
        SshServer(host, int(port)).scan()
    assert refused.value.place == f"{host}:{port}"
    assert "Enable SSH" in str(refused.value)
