"""The signed client over real HTTP: which answers it accepts and which it rejects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from guildnet.agent_api.artifacts import Artifact
from guildnet.agent_api.signing import SIGNATURE_HEADER
from guildnet.digest import canonical_json, sha256_hex
from guildnet.errors import AgentAnswerRejected, AgentUnavailable
from guildnet_operator.agents.client import AgentAddress, AgentClient


async def test_a_poll_answers_at_once_and_then_on_change(
    api: AgentClient, agent: Any, address: AgentAddress
) -> None:
    """I4: an unchanged agent costs one long poll."""
    first = await api.state(address, None)
    assert first is not None
    state, etag = first
    assert state.step == "Waiting"
    assert await api.state(address, etag) is None
    agent.state = {**agent.state, "step": "Running", "run": 1, "attempt": 1, "start": 1}
    second = await api.state(address, etag)
    assert second is not None
    assert second[0].triple == (1, 1, 1)
    assert [target for _, target, _ in agent.asked] == [
        "/state?wait=0",
        "/state?wait=30",
        "/state?wait=30",
    ]


async def test_start_and_stop_carry_their_arguments(
    api: AgentClient, agent: Any, address: AgentAddress
) -> None:
    usage = {"requests": 2, "models": {}}
    await api.start(address, (1, 2, 3), {"prompt": "fix it"}, usage)
    await api.stop(address, "Cancelled")
    assert agent.asked == [
        (
            "POST",
            "/start",
            {"run": 1, "attempt": 2, "start": 3, "spec": {"prompt": "fix it"}, "usage": usage},
        ),
        ("POST", "/stop", {"reason": "Cancelled"}),
    ]


async def test_a_busy_agent_is_unavailable(
    api: AgentClient, agent: Any, address: AgentAddress
) -> None:
    agent.busy = "run 1, attempt 1, start 1 is under way"
    with pytest.raises(AgentUnavailable, match="under way"):
        await api.start(address, (1, 1, 2), {"prompt": "x"}, None)


def _unsigned(answer: web.Response) -> web.Response:
    del answer.headers[SIGNATURE_HEADER]
    return answer


def _forged(answer: web.Response) -> web.Response:
    forged = web.Response(
        status=answer.status, body=canonical_json({"step": "Finished", "outcome": "Succeeded"})
    )
    forged.headers[SIGNATURE_HEADER] = answer.headers[SIGNATURE_HEADER]
    return forged


def _of_another_status(answer: web.Response) -> web.Response:
    forged = web.Response(status=304)
    forged.headers[SIGNATURE_HEADER] = answer.headers[SIGNATURE_HEADER]
    return forged


def _endless(answer: web.Response) -> web.Response:
    return web.Response(status=200, body=b"x" * (65 * 1024))


def _redirected(answer: web.Response) -> web.Response:
    return web.Response(status=307, headers={"Location": "http://169.254.169.254/"})


@pytest.mark.parametrize("lie", [_unsigned, _forged, _of_another_status, _endless, _redirected])
async def test_answers_that_the_agent_did_not_sign_are_rejected(
    api: AgentClient,
    agent: Any,
    address: AgentAddress,
    lie: Callable[[web.Response], web.Response],
) -> None:
    """I9: other servers in the pod are not trusted."""
    agent.spoil = lie
    with pytest.raises(AgentAnswerRejected):
        await api.state(address, None)


async def test_a_replayed_answer_is_rejected(
    api: AgentClient, agent: Any, address: AgentAddress
) -> None:
    kept: list[str] = []

    def replay(answer: web.Response) -> web.Response:
        kept.append(answer.headers[SIGNATURE_HEADER])
        answer.headers[SIGNATURE_HEADER] = kept[0]
        return answer

    agent.spoil = replay
    assert await api.state(address, None) is not None
    with pytest.raises(AgentAnswerRejected):
        await api.state(address, None)


async def test_an_answer_signed_with_another_key_is_rejected(
    api: AgentClient, agent: Any, address: AgentAddress
) -> None:
    with pytest.raises(AgentAnswerRejected):
        await api.state(replace(address, key=bytes(32)), None)
    assert agent.asked == []


async def test_artifacts_must_match_the_digest_in_the_state(
    api: AgentClient, agent: Any, address: AgentAddress
) -> None:
    """I6"""
    body = b'{"ok": true}'
    agent.artifacts = {"report.json": body}
    listed = Artifact("report.json", len(body), sha256_hex(body))
    assert await api.artifact(address, listed) == body
    with pytest.raises(AgentAnswerRejected, match="digest"):
        await api.artifact(address, replace(listed, sha256="0" * 64))
    with pytest.raises(AgentUnavailable, match="404"):
        await api.artifact(address, replace(listed, name="other.json"))
