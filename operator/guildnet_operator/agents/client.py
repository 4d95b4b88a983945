"""The signed client of one agent's API, through the API server's pod proxy.

Requests are signed with the agent's key, which is never sent. An answer that is not signed for
this very request is rejected. Answers are bounded in size and time; redirects are not followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from guildnet.agent_api import signing
from guildnet.agent_api.artifacts import MAX_ARTIFACT_BYTES, Artifact
from guildnet.agent_api.parsing import parse_state
from guildnet.agent_api.state import MAX_STATE_BYTES, AgentState
from guildnet.digest import canonical_json, sha256_hex
from guildnet.errors import AgentAnswerRejected, AgentUnavailable, KubeError
from guildnet.kube import KubeClient
from guildnet.labels import AGENT_PORT

ANSWER_TIMEOUT = timedelta(seconds=5)
LONG_POLL = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """An agent: its pod, and the key that both sides hold."""

    namespace: str
    pod: str
    key: bytes


class AgentClient:
    """Requests to the agent API.

    Every call raises AgentUnavailable without an answer or with an error status, and
    AgentAnswerRejected for an answer that is unsigned, oversized or malformed.
    """

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def state(
        self, agent: AgentAddress, etag: str | None, *, wait: timedelta = LONG_POLL
    ) -> tuple[AgentState, str] | None:
        """The state and its ETag as soon as it differs from `etag`; None after `wait`."""
        seconds = int(wait.total_seconds()) if etag else 0
        headers = {"If-None-Match": etag} if etag else {}
        status, answer_headers, body = await self._call(
            agent,
            "GET",
            f"/state?wait={seconds}",
            headers=headers,
            timeout=ANSWER_TIMEOUT + timedelta(seconds=seconds),
        )
        if status == 304:
            return None
        _expect(status, body, 200)
        return parse_state(body), answer_headers.get("etag", "")

    async def start(
        self,
        agent: AgentAddress,
        triple: tuple[int, int, int],
        spec: Mapping[str, Any],
        usage: Mapping[str, Any] | None,
    ) -> AgentState:
        """Start the agent's (run, attempt, start). `usage`: what the run used of its model so far.

        AgentUnavailable while another start is under way in it.
        """
        run, attempt, start = triple
        body = {"run": run, "attempt": attempt, "start": start, "spec": spec, "usage": usage}
        return await self._post(agent, "/start", body)

    async def stop(self, agent: AgentAddress, reason: str) -> AgentState:
        """Stop the command and publish its work; `/state` then reports when that is done."""
        return await self._post(agent, "/stop", {"reason": reason})

    async def artifact(self, agent: AgentAddress, artifact: Artifact) -> bytes:
        """An artifact's body, which has the digest and size in the state."""
        status, _, body = await self._call(
            agent, "GET", f"/artifacts/{artifact.name}", max_bytes=MAX_ARTIFACT_BYTES
        )
        _expect(status, body, 200)
        if len(body) != artifact.bytes or sha256_hex(body) != artifact.sha256:
            raise AgentAnswerRejected(
                f"{artifact.name} does not have the digest and size that the state lists"
            )
        return body

    async def _post(self, agent: AgentAddress, path: str, body: Mapping[str, Any]) -> AgentState:
        status, _, answer = await self._call(agent, "POST", path, body=canonical_json(body))
        _expect(status, answer, 202)
        return parse_state(answer)

    async def _call(
        self,
        agent: AgentAddress,
        method: str,
        target: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = ANSWER_TIMEOUT,
        max_bytes: int = MAX_STATE_BYTES,
    ) -> tuple[int, Mapping[str, str], bytes]:
        nonce = signing.new_nonce()
        signed = {
            **(headers or {}),
            signing.AUTH_HEADER: signing.request_auth(agent.key, nonce, method, target, body),
        }
        if body:
            signed["Content-Type"] = "application/json"
        try:
            status, answer_headers, answer = await self._client.proxy_request(
                agent.pod,
                AGENT_PORT,
                method,
                target,
                namespace=agent.namespace,
                headers=signed,
                body=body,
                timeout=timeout,
                max_bytes=max_bytes,
            )
        except KubeError as error:
            if error.reason == "TooLarge":
                raise AgentAnswerRejected("the agent's answer is too large") from error
            raise AgentUnavailable(error.message, place=f"pod {agent.pod}") from error
        signature = answer_headers.get(signing.SIGNATURE_HEADER.lower())
        signing.verify_answer(agent.key, signature, nonce, status, answer)
        return status, answer_headers, answer


def _expect(status: int, body: bytes, wanted: int) -> None:
    if status != wanted:
        said = body[:200].decode("utf-8", "replace")
        raise AgentUnavailable(f"the agent answers {status}: {said}")
