"""Where an org's cluster is, for a person at the command line: kubeconfig, context, namespace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guildnet.errors import ConfigurationError
from guildnet.state_folder import kubeconfig_path

if TYPE_CHECKING:
    from guildnet.kube import KubeClient


@dataclass(frozen=True, slots=True)
class OrgCluster:
    """The place of one org: which kubeconfig file, which context in it, which namespace."""

    org: str
    kubeconfig: Path
    context: str | None
    namespace: str

    def client(self) -> KubeClient:
        from guildnet.kube import KubeClient

        return KubeClient.from_kubeconfig(
            self.kubeconfig, context=self.context, namespace=self.namespace
        )


def org_cluster(
    org: str,
    *,
    repo: str | None,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
) -> OrgCluster:
    """What the options name; for the rest, what the org's file says.

    Outside of a state repository, and where none is named, what `org add` stored counts: its
    kubeconfig names context and namespace too. Raises ConfigurationError when there is no such
    org or no kubeconfig stored for it.
    """
    from guildnet_cli.state_repository import find_org

    stored = kubeconfig_path(org)
    if kubeconfig is None or namespace is None:
        found = find_org(org, repo, here_only=stored.is_file())
        if found is not None:
            kubeconfig = kubeconfig or kubeconfig_path(found.cluster.kubeconfig)
            context = context or found.cluster.context
            namespace = namespace or found.cluster.namespace
    kubeconfig = kubeconfig or stored
    if not kubeconfig.is_file():
        raise ConfigurationError(
            f"no kubeconfig for org {org}",
            place=str(kubeconfig),
            cure=f"Store one with `guildnet org add {org} --kubeconfig FILE`.",
        )
    return OrgCluster(org, kubeconfig, context, namespace or _namespace_in(kubeconfig))


def _namespace_in(kubeconfig: Path) -> str:
    from guildnet_cli.kubeconfigs import read_kubeconfig

    chosen = read_kubeconfig(kubeconfig, context=None)["contexts"][0]["context"]
    return str(chosen.get("namespace") or "agents")
