"""Makes a Kubernetes cluster of a site's machines, as an administrator would with `talosctl`.

Each step can be repeated, so `up` finishes what an interrupted one began.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from guildnet.errors import GuildNetError
from guildnet.state_folder import private_folder
from guildnet_devcluster import node, processes
from guildnet_devcluster.build_cache import exclusive
from guildnet_devcluster.kube_client import KubeClient
from guildnet_devcluster.progress import Progress

from . import patches, site
from .machine import Machine
from .site import Site
from .talosctl import Talosctl

_API_PORT = 6443
_READY_TIMEOUT = timedelta(minutes=5)


def up(name: str, *, workers: int, progress: Progress) -> Path:
    """Start machines and make a healthy cluster of them; return the administrator's kubeconfig.

    A running cluster is only checked. Raises GuildNetError if a step fails.
    """
    lab = site.up(name, workers=workers, progress=progress)
    talosctl = _talosctl(lab)
    folder = talosctl.folder
    private_folder(folder)
    with exclusive(folder / ".lock"):
        with progress.step("configuring the machines", timedelta(seconds=3)):
            _generate(lab, talosctl)
            for machine in lab.machines:
                _apply(lab, talosctl, machine)
        with progress.step("starting Kubernetes", timedelta(seconds=45)):
            _bootstrap(lab, talosctl)
            _fetch_kubeconfig(lab, talosctl)
            _wait_for_nodes(lab)
        with progress.step("checking the cluster's health", timedelta(seconds=10)):
            _check_health(lab, talosctl)
    return lab.layout.kubeconfig


def talosconfig(lab: Site) -> Path:
    """The administrator's talosconfig of a cluster that `up` made."""
    return _talosctl(lab).config


def _talosctl(lab: Site) -> Talosctl:
    return Talosctl(lab.talosctl, lab.layout.data / "talos")


def _generate(lab: Site, talosctl: Talosctl) -> None:
    """Secrets once, and from them the configuration of each machine and of the client."""
    folder = talosctl.folder
    secrets = folder / "secrets.yaml"
    if not secrets.exists():
        partial = folder / "secrets.partial.yaml"
        talosctl.run("gen", "secrets", "--output-file", str(partial), "--force")
        partial.rename(secrets)
    endpoint = f"https://{lab.control_plane.address}:{_API_PORT}"
    talosctl.run(
        *("gen", "config", lab.layout.name, endpoint, "--with-secrets", str(secrets), "--force"),
        *("--kubernetes-version", lab.kubernetes_version, "--output", str(folder)),
        *("--with-docs=false", "--with-examples=false"),
        *("--config-patch", f"@{lab.patches.all}"),
        *("--config-patch-control-plane", f"@{lab.patches.control_plane}"),
    )
    talosctl.run("config", "endpoint", lab.control_plane.address)
    talosctl.run("config", "node", lab.control_plane.address)
    for machine in lab.machines:
        kind = "controlplane" if machine is lab.control_plane else "worker"
        patch = json.dumps(patches.for_machine(machine))
        target = str(_configuration(talosctl, machine))
        arguments = ("machineconfig", "patch", f"{kind}.yaml", "--patch", patch)
        talosctl.run(*arguments, "--output", target)


def _apply(lab: Site, talosctl: Talosctl, machine: Machine) -> None:
    """Configure a machine that is in maintenance mode, and wait until it knows us."""
    to = ("--nodes", machine.address)
    if talosctl.attempt("version", "--insecure", *to).returncode == 0:
        file = str(_configuration(talosctl, machine))
        talosctl.run("apply-config", "--insecure", "--file", file, *to)
    # Directly, since the control plane's API may still be starting.
    direct = (*to, "--endpoints", machine.address)
    processes.wait_for(
        f"authenticated answer from {machine.name}",
        lambda: talosctl.attempt("version", *direct).returncode == 0,
        lab.layout,
        (),
        _READY_TIMEOUT,
    )


def _bootstrap(lab: Site, talosctl: Talosctl) -> None:
    """Start etcd, once: a second call within a second stops etcd for good, until a reboot."""
    asked, done = talosctl.folder / ".bootstrap-asked", talosctl.folder / ".bootstrapped"
    if done.exists():
        return
    if asked.exists():
        # An interrupted `up` may have asked a moment ago.
        lab.reboot(lab.control_plane)
    processes.wait_for(
        "machine that can be bootstrapped",
        lambda: _is_bootstrapped(talosctl, asked),
        lab.layout,
        (),
        _READY_TIMEOUT,
    )
    done.touch()


def _is_bootstrapped(talosctl: Talosctl, asked: Path) -> bool:
    asked.touch()
    answer = talosctl.attempt("bootstrap")
    if answer.returncode == 0 or "AlreadyExists" in answer.stderr:
        return True
    if "FailedPrecondition" in answer.stderr or "Unavailable" in answer.stderr:
        # It does not take the call yet.
        return False
    raise GuildNetError(
        f"Talos refused to start etcd: {answer.stderr.strip()[-400:]}",
        place=str(talosctl.folder),
        cure="Run up again, which restarts the control plane first.",
    )


def _fetch_kubeconfig(lab: Site, talosctl: Talosctl) -> None:
    if not lab.layout.kubeconfig.exists():
        fetched = talosctl.folder / "kubeconfig"
        talosctl.run("kubeconfig", str(fetched), "--merge=false", "--force")
        lab.serve(fetched)
        fetched.unlink()


def _wait_for_nodes(lab: Site) -> None:
    api = KubeClient(lab.layout.kubeconfig)
    processes.wait_for(
        "ready nodes",
        lambda: node.are_ready(api, len(lab.machines)),
        lab.layout,
        [each for each in processes.recorded(lab.layout) if each.is_alive],
        _READY_TIMEOUT,
    )


def _check_health(lab: Site, talosctl: Talosctl) -> None:
    workers = ",".join(machine.address for machine in lab.workers)
    talosctl.run(
        *("health", "--wait-timeout", "4m"),
        *("--control-plane-nodes", lab.control_plane.address),
        *(("--worker-nodes", workers) if workers else ()),
    )


def _configuration(talosctl: Talosctl, machine: Machine) -> Path:
    return talosctl.folder / f"{machine.name}.yaml"
