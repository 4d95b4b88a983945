"""`talos.reconcile`: a stand-in for talosctl plays machines that drift, hang, lie or are away.

It leaves rendering to the real talosctl; real machines are in tests/talos.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.functional.reconciler.stand_in import (
    StandIn,
    org_file,
    standing_in,
    store_kubeconfig,
    task_file,
    until,
)
from tests.functional.talos.conftest import talosctl

from guildnet_reconciler.main import ReconcilerService, run

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

    from guildnet.record import OrgRecord
    from guildnet_reconciler.settings import Settings

__all__ = ["talosctl"]

PLANE, WORKER, OTHER = "127.0.0.77", "127.0.0.78", "127.0.0.79"
QUICK = timedelta(milliseconds=300)
STAND_IN = """\
#!{python}
import os, pathlib, sys, time
folder, words = pathlib.Path({folder!r}), sys.argv[1:]
if words[0] == "gen" and (folder / "broken").exists():
    sys.exit(0)
if words[0] in ("gen", "validate") or "--client" in words:
    os.execv({talosctl!r}, [{talosctl!r}, *words])
address = words[words.index("--nodes") + 1]
is_insecure = "--insecure" in words
kind = "dry-run" if "--dry-run" in words else ""
if "--mode" in words:
    kind = " ".join(words[words.index("--mode") :][:2])
with (folder / "calls").open("a") as calls:
    said = [words[0], address, "insecure" * is_insecure, kind]
    calls.write(" ".join(filter(None, said)) + "\\n")
state = (folder / address).read_text() if (folder / address).exists() else "same"
if state == "away":
    sys.exit(f"error: rpc error: code = Unavailable desc = {{os.getpid()}}: connection refused")
if state == "hang":
    (folder / "hanging").touch()
    time.sleep(600)
if state == "foreign" or (state == "maintenance" and not is_insecure):
    sys.exit("error: tls: x509: certificate signed by unknown authority")
if words[0] == "version":
    print("Server:\\n\\tTag:         v1.13.0")
elif state == "garbage":
    for _ in range(40):
        sys.stdout.write("Config diff:\\n" + "-x" * 500000)
elif kind != "dry-run":
    if state.startswith("refuse"):
        sys.exit("error: rpc error: code = InvalidArgument desc = needs a reboot")
    (folder / address).write_text("same")
else:
    diff = state.partition(":")[2] or "No changes.\\n"
    print("Dry run summary:\\nConfig diff:\\n\\n" + diff, file=sys.stderr)
"""
BY_HAND = "drift:--- a\n+++ b\n@@ -1,3 +1,3 @@\n     nodeLabels:\n-        by: hand\n"


@dataclass
class Machines:
    """How the stand-in's machines behave, and what they were asked."""

    folder: Path

    def are(self, **states: str) -> None:
        for name, state in states.items():
            address = {"plane": PLANE, "worker": WORKER, "other": OTHER}[name]
            (self.folder / address).write_text(state)

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def applied(self) -> list[str]:
        """What was applied, beyond dry runs."""
        return [call for call in self.calls if "--mode" in call]


@pytest.fixture
def machines(talosctl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    folder, program = tmp_path / "machines", tmp_path / "bin" / "talosctl"
    folder.mkdir()
    program.parent.mkdir()
    text = STAND_IN.format(python=sys.executable, folder=str(folder), talosctl=str(talosctl))
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return Machines(folder)


@pytest.fixture(scope="module")
def secrets(talosctl: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("secrets") / "secrets.yaml"
    subprocess.run([talosctl, "gen", "secrets", "--output-file", file], check=True)
    return file.read_text()


@pytest.fixture
def bundle(settings: Settings, secrets: str) -> Any:
    """The secrets of acme's cluster, where the reconciler looks for them."""
    file = settings.state_dir / "talos/acme/secrets.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(secrets)
    return yaml.safe_load(secrets)


def with_machines(name: str, reconcile: str | None, more: str = "") -> str:
    said = f"    reconcile: {reconcile}\n" if reconcile else ""
    return (
        f"{org_file(name)}  talos:\n    endpoint: https://{PLANE}:6443\n    version: v1.13.0\n"
        f"    kubernetesVersion: v1.36.2\n    controlPlanes: [{PLANE}]\n"
        f"    workers: [{WORKER}, {OTHER}]\n{said}{more}"
    )


@dataclass
class Running:
    reconciler: ReconcilerService
    remote: Remote
    cluster: StandIn

    @property
    def record(self) -> OrgRecord | None:
        return self.reconciler.status.of("acme").org

    def section(self) -> dict[str, Any]:
        return dict(self.record.talos) if self.record is not None else {}

    def state(self, address: str) -> dict[str, Any]:
        found = [m for m in self.section().get("machines", ()) if m["address"] == address]
        return dict(found[0]) if found else {}

    async def until_state(self, address: str, state: str) -> dict[str, Any]:
        try:
            await until(lambda: self.state(address).get("state") == state, 30)
        except TimeoutError:
            raise AssertionError(f"{address} is not {state}: {self.record}") from None
        return self.state(address)


@asynccontextmanager
async def running(remote: Remote, settings: Settings, org: str) -> AsyncIterator[Running]:
    async with standing_in("acme", "globex") as cluster:
        for name in ("acme", "globex"):
            store_kubeconfig(settings, name, cluster.url)
        remote.commit({"orgs/acme.yaml": org, "orgs/globex.yaml": org_file("globex")})
        reconciler = ReconcilerService(replace(settings, poll=timedelta(minutes=5)))
        await reconciler.open_status()
        reconciler.start(triggers=False)
        try:
            yield Running(reconciler, remote, cluster)
        finally:
            await reconciler.close()


async def test_drift_is_reported_once_and_without_secrets(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    secret = bundle["trustdinfo"]["token"]
    diff = f"{BY_HAND}-        FREE: hunter2\n+    anything: {secret}\n"
    machines.are(worker=diff, other="away")
    quick = replace(settings, machine_interval=QUICK)
    async with running(remote, quick, with_machines("acme", "report")) as at:
        worker = await at.until_state(WORKER, "drifted")
        assert worker["diff"] == [
            *("@@", "     nodeLabels:", "-        by: ***", "-        FREE: ***"),
            "+    anything: ***",
        ]
        assert worker["changedLines"] == 3
        assert at.state(PLANE)["state"] == "inSync"
        assert at.state(PLANE)["version"] == "v1.13.0"
        assert "connection refused" in (await at.until_state(OTHER, "unreachable"))["message"]
        assert set(at.section()["certificates"]) >= {"talosconfig", "os", "k8s", "etcd"}
        assert await at.reconciler.status.flush()
        commits = remote.git("rev-list", "--count", "status", at=remote.path)
        asked = len(machines.calls)
        await until(lambda: len(machines.calls) > asked + 12)
        assert remote.git("rev-list", "--count", "status", at=remote.path) == commits
        written = remote.git("show", "status:orgs/acme/org.json", at=remote.path)
        assert "hunter2" not in written
        assert secret not in written
        assert machines.applied == []
        metrics = at.reconciler.metrics.exposition().decode()
        assert 'guildnet_talos_machines{org="acme",state="drifted"} 1.0' in metrics
        machines.are(worker="same", other="same")
        await at.until_state(WORKER, "inSync")
        await at.until_state(OTHER, "inSync")


async def test_without_the_field_no_machine_is_asked(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    machines.are(worker=BY_HAND)
    quick = replace(settings, machine_interval=QUICK)
    async with running(remote, quick, with_machines("acme", None)) as at:
        await until(lambda: at.reconciler.scheduler.is_settled)
        assert at.section() == {}
        remote.commit({"orgs/acme.yaml": with_machines("acme", "report")})
        at.reconciler.scheduler.trigger()
        await at.until_state(WORKER, "drifted")
        remote.commit({"orgs/acme.yaml": with_machines("acme", None)})
        at.reconciler.scheduler.trigger()
        await until(lambda: at.section() == {})
        asked = len(machines.calls)
        await asyncio.sleep(2 * QUICK.total_seconds())
        assert len(machines.calls) == asked


async def test_apply_goes_from_one_machine_to_the_next_and_control_planes_are_first(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    machines.are(plane=BY_HAND, worker=BY_HAND, other=BY_HAND)
    async with running(remote, settings, with_machines("acme", "apply")) as at:
        found = await at.until_state(OTHER, "inSync")
        assert found["appliedAt"]
        assert machines.applied == [
            f"apply-config {address} --mode no-reboot" for address in (PLANE, WORKER, OTHER)
        ]


async def test_apply_stops_at_the_first_machine_that_refuses_and_does_not_insist(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    refusing = BY_HAND.replace("drift:", "refuse:")
    machines.are(worker=refusing, other=BY_HAND)
    quick = replace(settings, machine_interval=QUICK)
    async with running(remote, quick, with_machines("acme", "apply")) as at:
        worker = await at.until_state(WORKER, "drifted")
        assert "needs a reboot" in worker["message"]
        assert "--mode staged" in worker["cure"]
        assert f"{WORKER} did not take over" in at.state(OTHER)["message"]
        await at.until_state(OTHER, "inSync")  # by the next check
        asked = len(machines.calls)
        await until(lambda: len(machines.calls) > asked + 12)
        assert machines.applied.count(f"apply-config {WORKER} --mode no-reboot") == 1
        assert "needs a reboot" in at.state(WORKER)["message"]


KUBELET = (
    "drift:-        image: ghcr.io/k/kubelet:v1.36.1\n+        image: ghcr.io/k/kubelet:v1.36.2\n"
)


@pytest.mark.parametrize(
    ("states", "org", "expected"),
    [
        ({"worker": "maintenance"}, "apply", {WORKER: "maintenance"}),
        ({"worker": "foreign"}, "apply", {WORKER: "foreign"}),
        ({"worker": KUBELET, "other": BY_HAND}, "apply", {WORKER: "drifted", OTHER: "drifted"}),
        ({"worker": BY_HAND}, "suspended", {WORKER: "drifted"}),
        ({"worker": BY_HAND}, "report", {WORKER: "drifted"}),
        ({"plane": "garbage", "worker": "same"}, "apply", {PLANE: "refused", WORKER: "inSync"}),
    ],
)
async def test_nothing_is_applied_where_a_person_must_decide(
    *,
    remote: Remote,
    settings: Settings,
    machines: Machines,
    bundle: Any,
    states: dict[str, str],
    org: str,
    expected: dict[str, str],
) -> None:
    machines.are(**states)
    text = with_machines("acme", "apply" if org == "suspended" else org)
    if org == "suspended":
        text += "  suspend: true\n"
    async with running(remote, settings, text) as at:
        for address, state in expected.items():
            await at.until_state(address, state)
        assert machines.applied == []
        # A dry run would hand the cluster's keys to a machine that cannot prove who it is.
        assert not [c for c in machines.calls if c.startswith("apply-config") and "insecure" in c]


async def test_a_changed_patch_is_compared_at_once_and_a_changed_task_is_not(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    """I5: at rest, and for commits about other things, no machine is asked."""
    patches = f"    patches: [{{path: orgs/acme/talos/a.yaml, target: {WORKER}}}]\n"
    remote.commit({"orgs/acme/talos/a.yaml": "machine: {nodeLabels: {team: a}}\n"})
    async with running(remote, settings, with_machines("acme", "report", patches)) as at:
        await at.until_state(WORKER, "inSync")
        asked = len(machines.calls)
        remote.commit({"tasks/acme/a.yaml": task_file("a")})
        at.reconciler.scheduler.trigger()
        await until(lambda: "a" in at.cluster.tasks("acme"))
        machines.are(worker=BY_HAND)
        assert len(machines.calls) == asked
        remote.commit({"orgs/acme/talos/a.yaml": "machine: {nodeLabels: {team: b}}\n"})
        at.reconciler.scheduler.trigger()
        await at.until_state(WORKER, "drifted")
        remote.commit({"orgs/acme/talos/a.yaml": "machine: {token: abcdef.0123456789abcdef}\n"})
        at.reconciler.scheduler.trigger()
        await until(lambda: "problem" in at.section())
        assert "orgs/acme/talos/a.yaml:1: machine.token" in at.section()["problem"]["message"]
        assert at.state(WORKER)["state"] == "unknown"


async def test_machines_that_hang_delay_no_task_and_no_other_org(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    """I3."""
    machines.are(plane="hang", worker="hang", other="hang")
    async with running(remote, settings, with_machines("acme", "report")) as at:
        await until((machines.folder / "hanging").exists, 30)
        remote.commit({f"tasks/{org}/a.yaml": task_file("a") for org in ("acme", "globex")})
        at.reconciler.scheduler.trigger()
        await until(lambda: "a" in at.cluster.tasks("acme") and "a" in at.cluster.tasks("globex"))
        assert at.state(PLANE) == {}, "the check ended: it proves nothing"
        closing = time.monotonic()
    assert time.monotonic() - closing < 10, "the reconciler waited for hanging machines"


async def test_a_broken_talosctl_is_named_and_noticed_when_it_is_cured(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    (machines.folder / "broken").touch()
    quick = replace(settings, machine_interval=QUICK)
    async with running(remote, quick, with_machines("acme", "report")) as at:
        await until(lambda: "problem" in at.section(), 30)
        assert "wrote no talosconfig" in at.section()["problem"]["message"]
        (machines.folder / "broken").unlink()
        await at.until_state(WORKER, "inSync")
        assert "problem" not in at.section()


async def test_a_single_pass_ends_after_its_check(
    remote: Remote, settings: Settings, machines: Machines, bundle: Any
) -> None:
    machines.are(worker=BY_HAND)
    async with standing_in("acme") as cluster:
        store_kubeconfig(settings, "acme", cluster.url)
        remote.commit({"orgs/acme.yaml": with_machines("acme", "report")})
        assert await run(replace(settings, once=True)) == 0, "drift is no failure of a pass"
    machine = remote.status("orgs/acme/org.json")["talos"]["machines"][1]
    assert (machine["address"], machine["state"]) == (WORKER, "drifted")


async def test_only_the_replica_with_the_lease_asks_the_machines(
    remote: Remote, settings: Settings, machines: Machines, secrets: str, tmp_path: Path
) -> None:
    """The other one takes over when it gets the Lease, and applies then."""
    second = replace(settings, state_dir=tmp_path / "second", machine_interval=QUICK, holder="b")
    for each in (settings, second):
        file = each.state_dir / "talos/acme/secrets.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(secrets)
    async with running(remote, settings, with_machines("acme", "apply")) as at:
        await at.until_state(WORKER, "inSync")
        store_kubeconfig(second, "acme", at.cluster.url)
        store_kubeconfig(second, "globex", at.cluster.url)
        other = ReconcilerService(replace(second, poll=timedelta(minutes=5)))
        await other.open_status()
        other.start(triggers=False)
        try:
            await until(lambda: "LeaseHeld" in other.scheduler.summary().get("acme", ""), 30)
            asked = len(machines.calls)
            machines.are(worker=BY_HAND)
            await asyncio.sleep(3 * QUICK.total_seconds())
            assert len(machines.calls) == asked
            await at.reconciler.close()
            await until(lambda: bool(machines.applied), 30)
        finally:
            await other.close()


@pytest.mark.parametrize("missing", ["talosctl", "secrets", "identity"])
async def test_what_is_missing_on_the_reconciler_s_machine_is_named_with_its_cure(
    remote: Remote,
    settings: Settings,
    machines: Machines,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
) -> None:
    more = ""
    if missing == "talosctl":
        monkeypatch.setenv("PATH", os.environ["PATH"].partition(":")[2])
    if missing == "identity":
        recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
        more = f"    ageRecipients: [{recipient}]\n"
        remote.commit({"orgs/acme/talos/secrets.yaml.age": "-----BEGIN AGE ENCRYPTED FILE-----\n"})
    org = with_machines("acme", "apply", more)
    async with running(remote, settings, org) as at:
        await until(lambda: "problem" in at.section(), 30)
        problem = at.section()["problem"]
        words: dict[str, Callable[[], bool]] = {
            "talosctl": lambda: "Install talosctl v1.13.0" in problem["cure"],
            "secrets": lambda: "Copy them from the machine that made them" in problem["cure"],
            "identity": lambda: "GUILDNET_AGE_IDENTITY" in problem["cure"],
        }
        assert words[missing](), problem
        assert at.state(WORKER)["state"] == "unknown"
        await until(lambda: at.reconciler.scheduler.is_clean)
        assert machines.calls == []
