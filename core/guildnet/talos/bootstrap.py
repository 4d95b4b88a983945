"""Bootstraps etcd once, on the org's first control plane.

A second request that reaches a machine while its etcd starts destroys that etcd: Talos stops it,
finds its data, and leaves it stopped. So requests come from one process at a time (the caller holds
the org's lock), etcd is asked first on every control plane, a note on disk outlives a killed
process, and a request without an answer is never sent again before etcd had time to appear.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from guildnet.errors import TalosError, TalosRefused, TalosUnavailable
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.configuration import foreign, unreachable
from guildnet.talos.etcd import EtcdState, etcd_state
from guildnet.talos.machines import MachineState, probe_all
from guildnet.talos.spec import Machine
from guildnet.talos.talosctl import CALL_TIMEOUT, at_machine

SETTLE = timedelta(seconds=30)
"""How long etcd may take to appear after a request of which nobody knows whether it was sent."""
_POLL = 1.0
_MAX_NOTE_BYTES = 4096
_ALREADY = "code = AlreadyExists"
_NOT_YET = "code = FailedPrecondition"
_TWICE = "etcd data directory is not empty"


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """etcd runs on `machine`; whether this call requested it."""

    machine: Machine
    requested: bool


def bootstrap(
    cluster: TalosCluster, timeout: timedelta, progress: Callable[[str], None]
) -> Bootstrapped:
    """Bring etcd up where it does not run; wait until it is healthy. The caller holds the org's
    lock.

    Raises TalosUnavailable where a control plane does not answer or etcd does not come up in time,
    TalosRefused where a machine is not configured, is another cluster's, or its etcd was destroyed.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    first = cluster.spec.control_planes[0]
    requested = False
    at = _with_data(cluster)
    if at is None:
        at = _after_an_earlier_request(cluster, deadline, progress)
    if at is None:
        progress(f"{first.address}: bootstrapping etcd")
        requested = _request(cluster, first, deadline)
        at = first
    _await_healthy(cluster, at, deadline, progress)
    cluster.state.bootstrap.unlink(missing_ok=True)
    return Bootstrapped(at, requested)


def _with_data(cluster: TalosCluster) -> Machine | None:
    """A control plane whose etcd has data. Without one, every control plane must have answered:
    one that is away may hold the cluster's etcd."""
    unclear: TalosError | None = None
    for found in probe_all(cluster.tool, cluster.spec.control_planes):
        machine = found.machine
        match found.state:
            case MachineState.OURS:
                if etcd_state(cluster.tool, machine) is not EtcdState.NEW:
                    return machine
            case MachineState.FOREIGN:
                raise foreign(machine, found.message)
            case MachineState.UNREACHABLE:
                unclear = unclear or unreachable(machine, found.message)
            case MachineState.MAINTENANCE if machine == cluster.spec.control_planes[0]:
                raise TalosRefused(
                    "has no configuration yet",
                    place=machine.address,
                    cure=f"Run `guildnet talos apply {cluster.spec.org}` first.",
                )
    if unclear is not None:
        raise unclear
    return None


def _after_an_earlier_request(
    cluster: TalosCluster, deadline: float, progress: Callable[[str], None]
) -> Machine | None:
    """What came of a request that an earlier process noted; None if nothing did, and another one
    may be sent."""
    note = _noted(cluster)
    if note is None:
        return None
    progress("etcd was bootstrapped by an earlier call: waiting for it")
    settled = deadline if note == "accepted" else _in(SETTLE)
    while time.monotonic() < min(settled, deadline):
        found = _with_data(cluster)
        if found is not None:
            return found
        time.sleep(_POLL)
    if note == "sent" and time.monotonic() < settled:
        raise TalosUnavailable(
            "an earlier call may have bootstrapped etcd, and it has not come up yet",
            place=cluster.spec.control_planes[0].address,
            cure=f"Run this again with a --timeout above {SETTLE.total_seconds():g} seconds.",
        )
    if note == "accepted":
        raise TalosUnavailable(
            "etcd was bootstrapped and has not come up",
            place=cluster.spec.control_planes[0].address,
            cure="Look at `talosctl service etcd` and `talosctl dmesg`: its image may not be "
            f"pulled. If the machine has lost the request by a reboot, delete "
            f"{cluster.state.bootstrap} and run this again.",
        )
    return None


def _request(cluster: TalosCluster, machine: Machine, deadline: float) -> bool:
    """Send the request once; whether etcd was new. An answer that does not come is waited for by
    the caller, at etcd."""
    while True:
        _note(cluster, machine, "sent")
        done = cluster.tool.finished("bootstrap", *at_machine(machine.address))
        if not done.timed_out and done.status == 0:
            _note(cluster, machine, "accepted")
            return True
        failure = cluster.tool.failure(done, "bootstrap", CALL_TIMEOUT, machine.address)
        if isinstance(failure, TalosUnavailable):
            return True
        if _ALREADY in failure.message:
            return False
        if _TWICE in failure.message:
            raise _destroyed(machine)
        # The machine says that it has done nothing.
        cluster.state.bootstrap.unlink(missing_ok=True)
        if _NOT_YET not in failure.message or time.monotonic() >= deadline:
            raise failure
        time.sleep(_POLL)


def _await_healthy(
    cluster: TalosCluster, machine: Machine, deadline: float, progress: Callable[[str], None]
) -> None:
    while True:
        try:
            state = etcd_state(cluster.tool, machine)
        except TalosUnavailable as error:
            state, said = EtcdState.STARTING, error.message
        else:
            said = f"etcd is {state}"
        if state is EtcdState.RUNNING:
            return
        if state is EtcdState.STOPPED:
            raise _destroyed(machine)
        progress(f"{machine.address}: {said}")
        if time.monotonic() >= deadline:
            raise TalosUnavailable(
                f"etcd is not healthy in time: {said}",
                place=machine.address,
                cure="Run the same command again; it waits, and never bootstraps twice.",
            )
        time.sleep(_POLL)


def _destroyed(machine: Machine) -> TalosRefused:
    return TalosRefused(
        "etcd has data and was stopped: it was bootstrapped twice at the same time, or it failed",
        place=machine.address,
        cure="Look at `talosctl service etcd`; reboot the machine (talosctl reboot), after which "
        "etcd starts from its data.",
    )


def _in(duration: timedelta) -> float:
    return time.monotonic() + duration.total_seconds()


def _note(cluster: TalosCluster, machine: Machine, state: Literal["sent", "accepted"]) -> None:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"machine": machine.address, "state": state, "at": at})
    cluster.state.write(cluster.state.bootstrap, f"{text}\n".encode())


def _noted(cluster: TalosCluster) -> Literal["sent", "accepted"] | None:
    try:
        with cluster.state.bootstrap.open("rb") as file:
            note = json.loads(file.read(_MAX_NOTE_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        note = {}
    # A note that cannot be read is one of a request.
    accepted = isinstance(note, dict) and note.get("state") == "accepted"
    return "accepted" if accepted else "sent"
