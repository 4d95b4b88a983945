"""Which machines a check asks, and to which of them what git says is applied. Pure."""

from __future__ import annotations

from dataclasses import replace

from guildnet.errors import TalosRefused, TalosUnavailable
from guildnet.record import MachineCondition, MachineStatus
from guildnet.talos.configuration import Difference
from guildnet.talos.machines import MachineState
from guildnet.talos.spec import CONTROL_PLANE, WORKER, Machine, TalosSpec
from guildnet_reconciler.machines.rules import Rota, compared, failed, held_back

PLANES = tuple(Machine(f"10.0.0.{n}", CONTROL_PLANE) for n in (1, 2, 3))
WORKERS = tuple(Machine(f"10.0.0.{n}", WORKER) for n in (4, 5))
SPEC = TalosSpec(
    *("acme", "https://10.0.0.1:6443", "v1.13.0", "v1.13.0", "v1.36.2"),
    machines=(*PLANES, *WORKERS),
    reconcile="apply",
)
DIFF = ("@@", "     nodeLabels:", "-        by: hand")
IMAGE = ("-    image: ghcr.io/k/kubelet:v1.36.1", "+    image: ghcr.io/k/kubelet:v1.36.2")


def drifted(machine: Machine, *lines: str) -> MachineStatus:
    return compared(Difference(machine, MachineState.OURS, lines or DIFF))


def all_drifted() -> dict[str, MachineStatus]:
    return {machine.address: drifted(machine) for machine in SPEC.machines}


def test_what_a_machine_answers_is_a_state() -> None:
    machine = WORKERS[0]
    same = compared(Difference(machine, MachineState.OURS, version="v1.13.0"))
    assert (same.state, same.version) == (MachineCondition.IN_SYNC, "v1.13.0")
    assert drifted(machine).changed_lines == 1
    assert drifted(machine).diff[-1] == "-        by: ***"
    new = compared(Difference(machine, MachineState.MAINTENANCE))
    assert new.state is MachineCondition.MAINTENANCE
    errors = {
        MachineCondition.UNREACHABLE: TalosUnavailable("no answer"),
        MachineCondition.FOREIGN: TalosRefused("another's", is_foreign=True),
        MachineCondition.REFUSED: TalosRefused("too new"),
    }
    for state, error in errors.items():
        assert failed(machine, error).state is state


def test_well_machines_that_drifted_get_what_git_says() -> None:
    assert held_back(SPEC, all_drifted(), {}) == {}


def test_an_obstacle_holds_all_of_them() -> None:
    held = held_back(SPEC, all_drifted(), {}, "the org is suspended")
    assert held.keys() == all_drifted().keys()
    assert held["10.0.0.4"].message == "not applied: the org is suspended"


def test_another_version_of_kubernetes_anywhere_holds_all_of_them() -> None:
    """An upgrade may be under way."""
    long = (*(f"+    line: {n}" for n in range(200)), *IMAGE)
    found = all_drifted() | {"10.0.0.5": drifted(WORKERS[1], *long)}
    held = held_back(SPEC, found, {})
    assert held.keys() == found.keys()
    assert "upgrade-k8s acme" in held["10.0.0.1"].cure


def test_a_control_plane_that_is_not_well_holds_the_others_but_no_worker() -> None:
    found = all_drifted() | {"10.0.0.2": failed(PLANES[1], TalosUnavailable("no answer"))}
    assert held_back(SPEC, found, {}).keys() == {"10.0.0.1", "10.0.0.3"}
    del found["10.0.0.2"]  # never asked
    assert held_back(SPEC, found, {}).keys() == {"10.0.0.1", "10.0.0.3"}


def test_a_reboot_holds_that_machine_alone() -> None:
    found = all_drifted()
    found["10.0.0.4"] = replace(found["10.0.0.4"], needs_reboot=True)
    held = held_back(SPEC, found, {})
    assert held.keys() == {"10.0.0.4"}
    assert "--node 10.0.0.4" in held["10.0.0.4"].cure


def test_a_difference_that_was_refused_is_not_tried_again_and_another_one_is() -> None:
    found = all_drifted()
    refused = {"10.0.0.4": replace(found["10.0.0.4"], message="not applied: no")}
    assert held_back(SPEC, found, refused)["10.0.0.4"].message == "not applied: no"
    found["10.0.0.4"] = drifted(WORKERS[0], "-        by: hand", "-        and: another")
    assert held_back(SPEC, found, refused) == {}


def test_a_machine_that_is_away_is_left_out_of_one_check_then_of_two() -> None:
    rota, asked = Rota(), []
    for check in range(12):
        due = rota.due(WORKERS)
        for machine in due:
            rota.asked(machine.address, is_away=machine is WORKERS[0])
        assert WORKERS[1] in due
        asked += [check] if WORKERS[0] in due else []
    assert asked == [0, 2, 5, 8, 11]
    rota.restart()
    assert set(rota.due(WORKERS)) == set(WORKERS)


def test_machines_that_a_check_did_not_reach_come_first_in_the_next() -> None:
    rota = Rota()
    for machine in rota.due(SPEC.machines)[:2]:
        rota.asked(machine.address, is_away=False)
    assert rota.due(SPEC.machines) == (*SPEC.machines[2:], *SPEC.machines[:2])
