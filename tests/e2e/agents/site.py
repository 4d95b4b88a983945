"""One org on a node: forge, operator, and a scripted model endpoint that pods reach."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from guildnet import labels
from guildnet.kube import AGENT_TASKS, PODS, KubeClient
from guildnet.loading import load_org, load_task
from guildnet.merge import RunRef, agent_task_spec
from guildnet.resources import Org, Source, org_path, task_path
from guildnet_demo import model_endpoint
from guildnet_demo.programs import run_program
from guildnet_demo.repositories import AGENT, Repositories
from guildnet_devcluster.cluster import Cluster
from guildnet_devcluster.images import Images
from guildnet_devcluster.scripted_model.server import RecordedRequest, ScriptedModel
from guildnet_reconciler.org.claim import claim_data, claim_object

ORG, NAMESPACE = "acme", "agents"
#: The preset of each agent, and the protocol that it speaks here.
PROTOCOLS = {"claude-code": "anthropic", "codex": "openai-responses", "pi": "openai-chat"}
GIT_SECRET = "forge-token"
#: Model names of the org, and the path below the endpoint that makes it misbehave.
FAULTS = {
    "main": "",
    "unauthorized": "/_401",
    "too-many": "/_429",
    "broken": "/_500",
    "hanging": "/_hang",
    "cut": "/_cut",
    "looping": "/_loop",
}


@dataclass
class Site:
    """``stalls`` is a second endpoint, which answers no more after the repair while its fault is
    set."""

    cluster: Cluster
    images: Images
    repositories: Repositories
    model: ScriptedModel
    stalls: ScriptedModel
    key: str
    environment: dict[str, str]
    org: Org = field(init=False)

    def url(self, model: ScriptedModel) -> str:
        return f"http://{self.cluster.host_address}:{model.port}"

    def install(self) -> None:
        """Install the operator, and give it the credentials of forge and model."""
        place = ("--kubeconfig", str(self.cluster.kubeconfig), "--namespace", NAMESPACE)
        images = ("--image", self.images.operator.name, "--work-image", self.images.work.name)
        self._guildnet("org", "install", ORG, *images, *place)
        forge = f"http://{self.repositories.host}"
        git = ("secret", "set", ORG, GIT_SECRET, "--use", "git", "--host", forge, *place)
        self._guildnet(*git, text=self.repositories.tokens[AGENT])
        hosts = [word for m in (self.model, self.stalls) for word in ("--host", self.url(m))]
        key = ("secret", "set", ORG, model_endpoint.SECRET, "--use", "model", *hosts, *place)
        self._guildnet(*key, text=self.key)

    def _guildnet(self, *arguments: str, text: str | None = None) -> None:
        command = [sys.executable, "-m", "guildnet_cli.main", *arguments]
        run_program(command, self.environment, text)

    async def claim(self, client: KubeClient) -> None:
        """Give the operator the org's settings, as the reconciler does."""
        endpoints = {name: self.url(self.model) + path for name, path in FAULTS.items()}
        models = {
            name: {
                "protocol": sorted(PROTOCOLS.values()),
                "baseURL": url,
                "secret": model_endpoint.SECRET,
                "names": [model_endpoint.MODEL_NAME],
            }
            for name, url in {**endpoints, "lost": self.url(self.stalls)}.items()
        }
        host, _, port = self.repositories.host.rpartition(":")
        spec = {
            "cluster": {"kubeconfig": ORG, "namespace": NAMESPACE},
            "models": models,
            "agent": {"egress": [{"host": host, "port": int(port)}]},
            "limits": {"maxActive": 6},
        }
        document = {"apiVersion": labels.API_VERSION, "kind": "Org", "spec": spec}
        text = yaml.safe_dump({**document, "metadata": {"name": ORG}})
        self.org = load_org(text.encode(), Source(org_path(ORG)))
        data = claim_data(
            self.org,
            state_repository=self.repositories.clone_url("alice/state"),
            status_root="status",
            attempted=None,
            applied=None,
            namespace_uid=None,
        )
        await client.apply(claim_object(self.org, data), field_manager=labels.RECONCILER)

    async def create(self, client: KubeClient, name: str, spec: dict[str, Any]) -> None:
        """Create the AgentTask of a task, as the reconciler would."""
        document = {"apiVersion": labels.API_VERSION, "kind": "Task", "spec": spec}
        text = yaml.safe_dump({**document, "metadata": {"name": name}})
        task = load_task(text.encode(), Source(task_path(ORG, name)))
        agent_task = {
            "apiVersion": labels.API_VERSION,
            "kind": labels.KIND_AGENT_TASK,
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {labels.ORG: ORG}},
            "spec": agent_task_spec(self.org, task, RunRef(1)),
        }
        await client.apply(agent_task, field_manager=labels.RECONCILER)

    def repair(self, preset: str, name: str, use: str, **more: Any) -> dict[str, Any]:
        """The spec of a task that lets an agent repair the product; the prompt has its name."""
        git = {"url": self.repositories.urls.product_url, "ref": "main", "secret": GIT_SECRET}
        spec: dict[str, Any] = {
            "prompt": f"average([]) fails; make it return 0.0. {token(name)}",
            "context": [{"name": "stats", "git": git}],
            "agent": {"preset": preset, "model": {"use": use}, **more.pop("agent", {})},
            "pullRequest": {"context": "stats", "base": "main", "title": f"Repair by {name}"},
            "editor": {"enabled": False},
            "retries": 0,
            "timeout": "5m",
        }
        return spec | more

    def asked_by(self, name: str) -> list[RecordedRequest]:
        """The requests that a task's agent sent, except those without its prompt."""
        everything = [*self.model.seen, *self.stalls.seen]
        return [seen for seen in everything if token(name).encode() in seen.body]

    def branches(self) -> str:
        """The product's branches, as `git ls-remote` prints them."""
        url = self.repositories.urls.product_url
        return run_program(["git", "ls-remote", "--heads", url], self.environment)

    def kubectl(self, *arguments: str) -> str:
        """The output of kubectl in the org's namespace."""
        program = str(Path(sys.executable).parent / "kubectl")
        done = subprocess.run(
            [program, f"--kubeconfig={self.cluster.kubeconfig}", "-n", NAMESPACE, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments[:3])}: {done.stderr}"
        return done.stdout

    async def python_in_work(self, client: KubeClient, task: str, program: str, *words: str) -> str:
        """Run a Python program in the `work` container of a task's pod; its output."""
        pod = await pod_of(client, task)
        arguments = ("exec", pod, "-c", "work", "--", "python3", "-c", program, *words)
        return await asyncio.to_thread(self.kubectl, *arguments)


def token(name: str) -> str:
    """A text in a task's prompt by which its requests are known."""
    return f"[task:{name}]"


async def pod_of(client: KubeClient, task: str) -> str:
    """The name of the task's only pod."""
    pods = await client.list_all(PODS, NAMESPACE, label_selector=f"{labels.TASK}={task}")
    (name,) = [
        pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]
    ]
    return str(name)


async def status_of(client: KubeClient, task: str) -> dict[str, Any]:
    found = await client.get(AGENT_TASKS, task, NAMESPACE)
    status: dict[str, Any] = found.get("status") or {}
    return status


def new_key() -> str:
    return f"sk-provider-{secrets.token_hex(16)}"


def own_environment(state: Path) -> dict[str, str]:
    return {**os.environ, "GUILDNET_STATE_DIR": str(state)}


def served(seen: Sequence[RecordedRequest]) -> dict[str, int]:
    """What the endpoint served, by the names of a run's usage."""
    answers = [item.served for item in seen if item.served]
    return {
        "requests": len(seen),
        "inputTokens": sum(answer.read for answer in answers),
        "cachedInputTokens": sum(answer.cached for answer in answers),
        "outputTokens": sum(answer.output for answer in answers),
    }
