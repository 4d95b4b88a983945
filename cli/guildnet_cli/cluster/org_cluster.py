"""How to reach an org's cluster from the command line: kubeconfig, context and namespace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError
from guildnet.state_folder import kubeconfig_path
from guildnet_cli.cluster.kubeconfigs import read_kubeconfig

if TYPE_CHECKING:
    from guildnet.kube import KubeClient
    from guildnet.resources import Org


@dataclass(frozen=True, slots=True)
class OrgCluster:
    """One org's kubeconfig file, the context in it, and the namespace of its AgentTasks."""

    org: str
    kubeconfig: Path
    context: str | None
    namespace: str

    def client(self) -> KubeClient:
        from guildnet.kube import KubeClient

        return KubeClient.from_kubeconfig(
            self.kubeconfig, context=self.context, namespace=self.namespace
        )

    def api_server_port(self) -> int:
        """The port of the API server's address in the kubeconfig."""
        config = read_kubeconfig(self.kubeconfig, context=self.context)
        server = urlsplit(str(config["clusters"][0]["cluster"]["server"]))
        return server.port or (80 if server.scheme == "http" else 443)

    async def find_agent_task(self, client: KubeClient, task: str) -> dict[str, Any] | None:
        """The AgentTask; None where it, or its CRD, does not exist."""
        from guildnet import kube
        from guildnet.errors import KubeNotFound

        try:
            return await client.find(kube.AGENT_TASKS, task, self.namespace)
        except KubeNotFound:
            return None


def cluster_of(org: Org) -> OrgCluster:
    """The cluster of an org by its stored kubeconfig. Raises ConfigurationError without one."""
    kubeconfig = kubeconfig_path(org.cluster.kubeconfig)
    if not kubeconfig.is_file():
        raise _no_kubeconfig(org.name, kubeconfig)
    return OrgCluster(org.name, kubeconfig, org.cluster.context, org.cluster.namespace)


def _no_kubeconfig(org: str, kubeconfig: Path) -> ConfigurationError:
    return ConfigurationError(
        f"no kubeconfig for org {org}",
        place=str(kubeconfig),
        cure=f"Store one with `guildnet org add {org} --kubeconfig FILE`, or of an org with Talos "
        f"machines with `guildnet talos kubeconfig {org}`.",
    )


def find_cluster(
    org: str,
    *,
    repo: str | None,
    kubeconfig: Path | None,
    context: str | None,
    namespace: str | None,
) -> OrgCluster:
    """The cluster of `org`; what the arguments leave open comes from the org's file.

    Outside a checkout, and without `repo`, the kubeconfig that `org add` stored is enough: it
    names a context and a namespace. Raises ConfigurationError where the org or its kubeconfig
    is missing.
    """
    from guildnet_cli.repository.resources import find_org

    stored = kubeconfig_path(org)
    if kubeconfig is None or namespace is None:
        found = find_org(org, repo, local_only=stored.is_file())
        if found is not None:
            kubeconfig = kubeconfig or kubeconfig_path(found.cluster.kubeconfig)
            context = context or found.cluster.context
            namespace = namespace or found.cluster.namespace
    kubeconfig = kubeconfig or stored
    if not kubeconfig.is_file():
        raise _no_kubeconfig(org, kubeconfig)
    return OrgCluster(org, kubeconfig, context, namespace or _namespace_in(kubeconfig))


def _namespace_in(kubeconfig: Path) -> str:
    chosen = read_kubeconfig(kubeconfig, context=None)["contexts"][0]["context"]
    return str(chosen.get("namespace") or "agents")
