"""`guildnet talos gen`: the cluster's secrets once, its configurations from git."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guildnet.age_files import age_identity
from guildnet.errors import ConfigurationError
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.files import WorkTreeFiles, read_patches
from guildnet.talos.machines import MachineState, probe_all
from guildnet.talos.secrets_store import find_bundle, new_secrets, sealed
from guildnet.talos.spec import TalosSpec
from guildnet.talos.state import TalosState
from guildnet.talos.talosctl import Talosctl
from guildnet.work_tree import WorkTree
from guildnet_cli.output import say


@dataclass(frozen=True, slots=True)
class Generated:
    """What `gen` made: where the secrets lie, whether they are new, each machine's file and whether
    it changed."""

    secrets: str
    new_secrets: bool
    files: dict[str, Path]
    changed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "secrets": self.secrets,
            "newSecrets": self.new_secrets,
            "machines": [
                {"address": address, "file": str(path), "changed": address in self.changed}
                for address, path in self.files.items()
            ],
        }


def generate(repo: Path, spec: TalosSpec, state: TalosState) -> tuple[TalosCluster, Generated]:
    """Make the secrets where there are none, and render every machine's configuration.

    Raises ConfigurationError where a machine of the org is configured and the secrets are missing:
    new ones would be another cluster's.
    """
    files = WorkTreeFiles(repo)
    read_patches(spec, files)  # before anything is made
    is_new = find_bundle(spec, state, files, age_identity()) is None
    if is_new:
        _make_secrets(repo, spec, state)
    cluster = TalosCluster.open(spec, files, state, age_identity())
    rendered = cluster.rendered()
    changed = []
    for address, content in rendered.items():
        path = state.machine(address)
        if not path.is_file() or path.read_bytes() != content:
            state.write(path, content)
            changed.append(address)
    place = spec.secrets_path if spec.age_recipients else str(state.secrets)
    paths = {address: state.machine(address) for address in rendered}
    return cluster, Generated(place, is_new, paths, tuple(changed))


def _make_secrets(repo: Path, spec: TalosSpec, state: TalosState) -> None:
    tool = Talosctl.find(spec.version, state.home())
    if not state.secrets.is_file():
        _refuse_a_configured_cluster(spec, state, tool)
    content = new_secrets(spec, state, tool)
    if not spec.age_recipients:
        state.write(state.secrets, content)
        say(f"secrets made: keep a copy of {state.secrets}, the cluster cannot be managed without")
        return
    WorkTree(repo).create(spec.secrets_path, sealed(spec, content))
    say(f"secrets made: commit {spec.secrets_path}, it is encrypted for the org's ageRecipients")


def _refuse_a_configured_cluster(spec: TalosSpec, state: TalosState, tool: Talosctl) -> None:
    states = {found.machine.address: found.state for found in probe_all(tool, spec.machines)}
    taken = [address for address, found in states.items() if found is MachineState.FOREIGN]
    if taken:
        raise ConfigurationError(
            f"already configured, with secrets that are not here: {', '.join(taken)}",
            place=f"orgs/{spec.org}.yaml",
            cure=f"Copy the cluster's secrets to {state.secrets}, or recover them: talosctl gen "
            "secrets --from-controlplane-config FILE. Machines of another cluster must be reset.",
        )
