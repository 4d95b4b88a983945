"""What a machine is: waiting for its configuration, ours, another cluster's, or not reachable."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from guildnet.errors import TalosRefused, TalosUnavailable
from guildnet.talos.spec import Machine
from guildnet.talos.talosctl import Talosctl, at_machine

MAX_AT_ONCE = 8
"""Machines that are asked at once."""
_NOT_REACHED = (
    *("connection refused", "no route to host", "network is unreachable", "no such host"),
    *("i/o timeout", "deadline exceeded", "no answer within"),
)
_TAG = re.compile(r"Server:.*?Tag:\s+(v\S+)", re.DOTALL)


class MachineState(StrEnum):
    """The answers to the question whose machine it is."""

    MAINTENANCE = "maintenance"
    OURS = "configured"
    FOREIGN = "foreign"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Probe:
    """What a machine answered: its state, its Talos version ("" where unknown), and what went
    wrong ("" where nothing did)."""

    machine: Machine
    state: MachineState
    version: str = ""
    message: str = ""


def probe(tool: Talosctl, machine: Machine) -> Probe:
    """Ask a machine with the client's certificate, where there is one, and then without.

    Without a certificate, a machine that has a configuration counts as foreign.
    """
    address = machine.address
    refused = "it has a configuration"
    if tool.talosconfig is not None:
        try:
            said = tool.run("version", *at_machine(address), machine=address)
            return Probe(machine, MachineState.OURS, _version(said))
        except TalosUnavailable as error:
            return Probe(machine, MachineState.UNREACHABLE, message=error.message)
        except TalosRefused as error:
            refused = error.message
    # A machine that is not configured shows a certificate of its own making.
    try:
        said = tool.run("version", "--insecure", "--nodes", address, machine=address)
        return Probe(machine, MachineState.MAINTENANCE, _version(said))
    except (TalosUnavailable, TalosRefused) as error:
        # A configured machine ends the connection when no certificate follows.
        if any(word in error.message for word in _NOT_REACHED):
            return Probe(machine, MachineState.UNREACHABLE, message=error.message)
        return Probe(machine, MachineState.FOREIGN, message=refused)


def probe_all(tool: Talosctl, machines: tuple[Machine, ...]) -> list[Probe]:
    """The same for several machines at once, in their order."""
    with ThreadPoolExecutor(MAX_AT_ONCE) as pool:
        return list(pool.map(lambda machine: probe(tool, machine), machines))


def _version(said: str) -> str:
    found = _TAG.search(said)
    return found[1] if found else ""
