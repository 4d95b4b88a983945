"""What etcd does on a control plane, as the machine tells it."""

from __future__ import annotations

import re
from enum import StrEnum

from guildnet.errors import TalosRefused
from guildnet.talos.spec import Machine
from guildnet.talos.talosctl import Talosctl, at_machine

DATA_FOLDER = "/var/lib/etcd"
_STATE = re.compile(r"^STATE\s+(\w+)", re.MULTILINE)
_HEALTH = re.compile(r"^HEALTH\s+(\S+)", re.MULTILINE)


class EtcdState(StrEnum):
    """`new`: no data yet, it waits to be bootstrapped or to join. `starting`: it has data.
    `running`: healthy. `stopped`: it has data and does not run."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"


def etcd_state(tool: Talosctl, machine: Machine) -> EtcdState:
    """The state of etcd on a machine. Raises TalosUnavailable."""
    # The data first: the moment of a bootstrap must never look like a machine without it.
    if not _has_data(tool, machine):
        return EtcdState.NEW
    try:
        said = tool.run("service", "etcd", *at_machine(machine.address), machine=machine.address)
    except TalosRefused:
        return EtcdState.STARTING  # the service is not registered yet
    state, health = _STATE.search(said), _HEALTH.search(said)
    if state is None:
        return EtcdState.STARTING
    if state[1] in ("Finished", "Failed", "Skipped"):
        return EtcdState.STOPPED
    is_healthy = state[1] == "Running" and health is not None and health[1] == "OK"
    return EtcdState.RUNNING if is_healthy else EtcdState.STARTING


def _has_data(tool: Talosctl, machine: Machine) -> bool:
    """Whether the folder of etcd's data has an entry; Talos asks itself the same before it
    bootstraps."""
    where = at_machine(machine.address)
    try:
        said = tool.run("list", DATA_FOLDER, *where, machine=machine.address)
    except TalosRefused:
        return False  # the folder does not exist yet
    names = [line.split()[-1] for line in said.splitlines()[1:] if line.strip()]
    return any(name != "." for name in names)
