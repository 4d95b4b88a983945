"""The entry points for Talos machines: `up` starts them, `Site` is what runs.

The machines start in maintenance mode, in which they answer `talosctl --insecure` and wait for a
configuration; what they become is the caller's business. `cluster.down` removes a site like any
other devcluster.

    lab = site.up("lab", workers=1, progress=progress_to())
    lab.patches.all, lab.patches.control_plane    # for `talosctl gen config` or an org's patches
    ...                                           # apply, bootstrap, fetch the kubeconfig
    lab.add_images([images.operator, images.work])
    lab.serve(kubeconfig)                         # volumes and network policies

Machines and pods reach servers that listen on `Site.host_address`, for example a forge, and the
nodes of other devclusters, but nothing beyond this host.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.kube import kubeconfig_data
from guildnet.state_folder import private_folder
from guildnet_devcluster import node, node_network, processes, teardown
from guildnet_devcluster.build_cache import exclusive
from guildnet_devcluster.components import KUBERNETES_VERSION, TALOS_VERSION
from guildnet_devcluster.images import ImageRef
from guildnet_devcluster.layout import ClusterRecord, Layout
from guildnet_devcluster.pki import kubeconfig_of, write_private
from guildnet_devcluster.processes import Process
from guildnet_devcluster.progress import Progress

from . import machine, machine_images, network, patches, rootfs, services
from .machine import Machine
from .network import SiteNetwork
from .programs import Programs

CONTROL_PLANE = "cp1"
#: Long enough for a machine that compiles or starts several clusters at the same time.
_READY_TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Patches:
    """Files with patches of the machine configuration that these machines require."""

    #: For every machine.
    all: Path
    #: For control planes only.
    control_plane: Path


@dataclass(frozen=True, slots=True)
class Site:
    """Running machines; the first one is meant to be the control plane."""

    layout: Layout
    network: SiteNetwork
    machines: tuple[Machine, ...]
    #: The talosctl of the machines' version.
    talosctl: Path
    #: The folder of the machines' read-only root.
    root: Path
    #: The versions that the machines have and that the registry serves, without `v`.
    talos_version: str = TALOS_VERSION
    kubernetes_version: str = KUBERNETES_VERSION

    @property
    def control_plane(self) -> Machine:
        return self.machines[0]

    @property
    def workers(self) -> tuple[Machine, ...]:
        return self.machines[1:]

    @property
    def host_address(self) -> str:
        """The address at which machines and pods reach servers on this host."""
        return self.network.host_address

    @property
    def patches(self) -> Patches:
        data = self.layout.data
        return Patches(data / "devcluster-all.yaml", data / "devcluster-controlplane.yaml")

    def boot(self, machines: Sequence[Machine]) -> None:
        """Boot machines that are off; the caller holds the layout's lock.

        Returns when their Talos API answers; raises GuildNetError if one does not.
        """
        watched = [machine.start(self.layout, self.network, each, self.root) for each in machines]
        for each in machines:
            self._wait_for_answer(each, watched)

    def reboot(self, *machines: Machine) -> None:
        """Power machines off and boot them again over their own data, like `boot`."""
        with exclusive(self.layout.lock):
            for each in machines:
                machine.stop(self.layout, each)
            self.boot(machines)

    def add_images(self, images: Sequence[ImageRef]) -> None:
        """Serve images to the machines, under their own names."""
        for image in images:
            services.add_archive(self.layout, image.archive)

    def serve(self, kubeconfig: Path) -> None:
        """Provide volumes and enforce network policies in the machines' Kubernetes cluster.

        `kubeconfig` is the administrator's, self-contained; `guildnet devcluster` uses a copy of it
        from now on. Raises ConfigurationError for one without certificates.
        """
        with exclusive(self.layout.lock):
            write_private(self.layout.kubeconfig, _copied(kubeconfig, self.layout.name))
            names = [each.name for each in self.machines]
            services.start_cluster_services(self.layout, names)

    def _wait_for_answer(self, each: Machine, watched: Sequence[Process]) -> None:
        def answers() -> bool:
            # A configured machine refuses us for want of a certificate.
            ask = [str(self.talosctl), "version", "--insecure", "--nodes", each.address]
            done = subprocess.run(ask, capture_output=True, check=False, text=True)
            return done.returncode == 0 or "certificate required" in done.stderr

        what = f"answer from Talos on {each.name}"
        processes.wait_for(what, answers, self.layout, watched, _READY_TIMEOUT)


def up(name: str, *, workers: int, progress: Progress) -> Site:
    """Start a control plane and `workers` machines. Returns at once if they are running.

    New machines are in maintenance mode; others boot with the configuration that they have.
    Raises GuildNetError, or ConfigurationError for an invalid name or number, or an unsupported
    host.
    """
    layout = Layout.of(name)
    names = [CONTROL_PLANE, *(f"worker{number}" for number in range(1, workers + 1))]
    network.check_count(len(names))
    node.check_machine()
    with exclusive(layout.lock):
        record = ClusterRecord.read(layout)
        _check_same(layout, record, names)
        programs = Programs.ensure(progress)
        root = rootfs.ensure(programs, progress)
        if record and _is_running(layout, record):
            site = _site(layout, record, programs, root)
        else:
            with progress.step(f"starting the machines {', '.join(names)}", timedelta(seconds=4)):
                site = _start(layout, record, names, programs, root)
        _write_patches(site)
        return site


def get(name: str, progress: Progress) -> Site:
    """Return the site `name`. Raises ConfigurationError if it does not exist."""
    layout = Layout.of(name)
    record = ClusterRecord.read(layout)
    if record is None or not record.machines:
        raise ConfigurationError(
            "there are no Talos machines of this name",
            place=f"devcluster {name}",
            cure=f"Run `guildnet devcluster up {name} --talos`.",
        )
    programs = Programs.ensure(progress)
    return _site(layout, record, programs, rootfs.ensure(programs, progress))


def expected_processes(layout: Layout, record: ClusterRecord) -> list[str]:
    """The names of the processes of a site, which serve Kubernetes once there is one."""
    names = [services.REGISTRY, *map(machine.process_name, record.machines)]
    if layout.kubeconfig.exists():
        names += services.cluster_services(record.machines)
    return names


def _copied(kubeconfig: Path, name: str) -> str:
    """A kubeconfig's current context as JSON, named like the cluster."""
    place = str(kubeconfig)
    found = kubeconfig_data.access(kubeconfig_data.read_file(kubeconfig), None, None, place)
    if not (found.authorities and found.certificate and found.key):
        raise ConfigurationError(
            "the kubeconfig has no certificate of an administrator",
            place=place,
            cure="Use the one that `talosctl kubeconfig` writes.",
        )
    parts = (found.authorities.encode(), found.certificate, found.key)
    return kubeconfig_of(*parts, server=found.server, name=name)


def _start(
    layout: Layout,
    before: ClusterRecord | None,
    names: Sequence[str],
    programs: Programs,
    root: Path,
) -> Site:
    teardown.tear_down(layout)
    try:
        record = _claim(layout, before, names)
        site = _site(layout, record, programs, root)
        network.build(layout, site.network, names)
        services.start_registry(layout, site.network, machine_images.ensure(programs))
        site.boot(site.machines)
        if layout.kubeconfig.exists():
            services.start_cluster_services(layout, names)
    except BaseException:
        # Stop partly started machines; their logs, which show the cause, are kept.
        teardown.tear_down(layout)
        raise
    return site


def _claim(layout: Layout, before: ClusterRecord | None, names: Sequence[str]) -> ClusterRecord:
    """Claim the site's addresses and record it."""
    private_folder(layout.data)
    slot = node_network.claim_slot(layout, before.slot if before else 0).slot
    if before and before.slot != slot:
        # Configured machines cannot change their addresses.
        raise ConfigurationError(
            f"another cluster has taken its addresses, {SiteNetwork(before.slot).subnet}",
            place=f"devcluster {layout.name}",
            cure="Stop the other cluster, or run down and start anew.",
        )
    record = ClusterRecord.of_machines(slot, names)
    record.write(layout)
    return record


def _write_patches(site: Site) -> None:
    contents = {
        site.patches.all: patches.for_all(site.network),
        site.patches.control_plane: patches.for_control_planes(),
    }
    for file, content in contents.items():
        # JSON is YAML.
        file.write_text(json.dumps(content, indent=1) + "\n")


def _site(layout: Layout, record: ClusterRecord, programs: Programs, root: Path) -> Site:
    addresses = SiteNetwork(record.slot)
    return Site(
        layout=layout,
        network=addresses,
        machines=tuple(
            Machine(name, index, addresses.address(index))
            for index, name in enumerate(record.machines)
        ),
        talosctl=programs.talosctl,
        root=root,
    )


def _is_running(layout: Layout, record: ClusterRecord) -> bool:
    alive = {process.name for process in processes.recorded(layout) if process.is_alive}
    return alive >= set(expected_processes(layout, record))


def _check_same(layout: Layout, record: ClusterRecord | None, names: Sequence[str]) -> None:
    if record is None or list(record.machines) == list(names):
        return
    what = f"Talos machines {', '.join(record.machines)}" if record.machines else "without Talos"
    raise ConfigurationError(
        f"the cluster exists with other machines: {what}",
        place=f"devcluster {layout.name}",
        cure=f"Choose another name, or run `guildnet devcluster down {layout.name}` first.",
    )
