"""A second request destroys an etcd that starts. A stand-in for talosctl counts the requests and
plays machines that answer late, not at all, or not yet; real machines are in tests/talos.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.functional.talos.conftest import Checkout, Ran

STAND_IN = """\
#!{python}
import os, pathlib, subprocess, sys, time
folder = pathlib.Path({folder!r})
words = sys.argv[1:]
known = lambda name: (folder / name).exists()
if words[0] in ("gen", "validate", "config") or "--client" in words:
    sys.exit(subprocess.call([{talosctl!r}, *words]))
if words[0] == "version":
    print("Server:\\n\\tTag:  v1.13.0")
elif words[0] == "list":
    print("NODE NAME\\n127.0.0.77 .")
    if known("data"):
        print("127.0.0.77 member")
elif words[0] == "service":
    state, health = ("Running", "OK") if known("healthy") else ("Preparing", "?")
    print(f"NODE 1\\nID etcd\\nSTATE    {{state}}\\nHEALTH   {{health}}")
elif words[0] == "bootstrap":
    with (folder / "requests").open("a") as requests:
        requests.write("x")
    if known("not-yet"):
        (folder / "not-yet").unlink()
        sys.exit("rpc error: code = FailedPrecondition desc = bootstrap is not available yet")
    if known("already"):
        (folder / "data").touch()
        (folder / "healthy").touch()
        sys.exit("rpc error: code = AlreadyExists desc = etcd data directory is not empty")
    if known("twice"):
        sys.exit("rpc error: code = Unknown desc = etcd data directory is not empty")
    if known("slow"):
        (folder / "taken").touch()
        time.sleep(60)
    (folder / "data").touch()
    (folder / "healthy").touch()
"""


@pytest.fixture
def machine(checkout: Checkout, talosctl: Path, tmp_path: Path) -> Path:
    """The folder in which files say how the machine behaves; `requests` counts bootstraps."""
    folder = tmp_path / "machine"
    folder.mkdir()
    program = tmp_path / "bin" / "talosctl"
    program.parent.mkdir()
    text = STAND_IN.format(python=sys.executable, folder=str(folder), talosctl=str(talosctl))
    program.write_text(text)
    program.chmod(0o755)
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    return folder


def bootstrap(checkout: Checkout, machine: Path, *more: str) -> Ran:
    return checkout.guildnet("talos", "bootstrap", "acme", *more, environment=[path(machine)])


def path(machine: Path) -> tuple[str, str]:
    return "PATH", f"{machine.with_name('bin')}:{os.environ['PATH']}"


def requests(machine: Path) -> int:
    file = machine / "requests"
    return len(file.read_text()) if file.exists() else 0


def test_two_processes_at_once_send_one_request(checkout: Checkout, machine: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: bootstrap(checkout, machine, "-o", "json"), range(2)))
    assert [each.code for each in both] == [0, 0], both
    assert sorted(json.loads(each.out)["requested"] for each in both) == [False, True]
    assert requests(machine) == 1


def test_etcd_that_has_data_is_never_bootstrapped(checkout: Checkout, machine: Path) -> None:
    (machine / "data").touch()
    (machine / "healthy").touch()
    assert bootstrap(checkout, machine).code == 0
    assert requests(machine) == 0


def test_a_machine_that_says_already_is_done(checkout: Checkout, machine: Path) -> None:
    (machine / "already").touch()
    done = bootstrap(checkout, machine, "-o", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["requested"] is False


def test_a_machine_that_is_not_ready_is_asked_again(checkout: Checkout, machine: Path) -> None:
    """It refused before it did anything, so asking again is safe."""
    (machine / "not-yet").touch()
    assert bootstrap(checkout, machine).code == 0
    assert requests(machine) == 2


def test_an_etcd_that_was_bootstrapped_twice_is_named(checkout: Checkout, machine: Path) -> None:
    (machine / "twice").touch()
    done = bootstrap(checkout, machine)
    assert done.code == 1
    assert "bootstrapped twice at the same time" in done.err
    assert "talosctl reboot" in done.err


@contextmanager
def killed_while_it_asks(checkout: Checkout, machine: Path) -> Iterator[None]:
    (machine / "slow").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "guildnet_cli.main", "talos", "bootstrap", "acme"],
        cwd=checkout.root,
        env={**os.environ, **dict([path(machine)])},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (machine / "taken").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    (machine / "slow").unlink()
    yield


def test_a_request_of_a_killed_process_is_waited_for_not_sent_again(
    checkout: Checkout, machine: Path
) -> None:
    with killed_while_it_asks(checkout, machine):
        assert requests(machine) == 1
        first = bootstrap(checkout, machine, "--timeout", "2")
        assert first.code == 1
        (machine / "data").touch()
        (machine / "healthy").touch()
        assert bootstrap(checkout, machine).code == 0
    assert requests(machine) == 1
