"""One org's Talos cluster as the verbs and the reconciler use it: spec, files, secrets, program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guildnet.talos.bundle import SecretsBundle
from guildnet.talos.client_config import ensure_talosconfig
from guildnet.talos.files import RepositoryFiles, read_patches
from guildnet.talos.process import Interruption
from guildnet.talos.rendering import render
from guildnet.talos.secrets_store import required_bundle
from guildnet.talos.spec import Machine, TalosSpec
from guildnet.talos.state import TalosState
from guildnet.talos.talosctl import Talosctl


@dataclass(frozen=True, slots=True)
class TalosCluster:
    """A cluster whose secrets exist. `tool` has the client's credentials and masks the secrets."""

    spec: TalosSpec
    files: RepositoryFiles
    state: TalosState
    bundle: SecretsBundle
    tool: Talosctl

    @classmethod
    def open(
        cls,
        spec: TalosSpec,
        files: RepositoryFiles,
        state: TalosState,
        identity: Path | None,
        interruption: Interruption | None = None,
    ) -> TalosCluster:
        """Find talosctl and the secrets, and make the talosconfig where it is needed.

        `interruption` ends what talosctl does for this cluster.

        Raises ConfigurationError where talosctl or the secrets are missing, InvalidResource and
        GitError as `files` does.
        """
        found = cls.stored(spec, files, state, identity, interruption)
        ensure_talosconfig(spec, found.bundle, state, found.tool)
        return found

    @classmethod
    def stored(
        cls,
        spec: TalosSpec,
        files: RepositoryFiles,
        state: TalosState,
        identity: Path | None,
        interruption: Interruption | None = None,
    ) -> TalosCluster:
        """The same with the talosconfig as it is: it may be missing or have ended."""
        tool = Talosctl.find(spec.version, state.home(), interruption)
        bundle = required_bundle(spec, state, files, identity)
        return cls(spec, files, state, bundle, tool.knowing(bundle.redact, state.talosconfig))

    def rendered(self, machines: tuple[Machine, ...] | None = None) -> dict[str, bytes]:
        """The configuration of each machine (all unless given) by address.

        Raises InvalidResource for problems of patches, TalosRefused for an invalid result.
        """
        patches = read_patches(self.spec, self.files)
        return render(self.spec, patches, self.bundle, self.tool, machines)
