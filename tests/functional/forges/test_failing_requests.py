"""Requests to a forge that fail: clear errors, bounded answers, and no secret in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from guildnet.forges import ForgeRefused, ForgeUnavailable
from guildnet.forges.gitea import Gitea
from guildnet.forges.transport import MAX_ANSWER_BYTES

if TYPE_CHECKING:
    from tests.functional.forges.conftest import Scripted

TOKEN = "0123456789abcdef0123456789abcdef01234567"
PULL = "GET /api/v1/repos/acme/web/pulls/1"


@pytest.fixture
def gitea_double(scripted: Scripted) -> Gitea:
    return Gitea(scripted.url, "acme/web", TOKEN)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_server_error_is_unavailable(
    scripted: Scripted, gitea_double: Gitea, status: int
) -> None:
    scripted.answer(PULL, {"message": "down"}, status, {"retry-after": "5"})

    with pytest.raises(ForgeUnavailable, match=str(status)) as failed:
        await gitea_double.get_pull_request(1)

    assert failed.value.retry_after == 5


@pytest.mark.parametrize(("header", "seconds"), [("nan", None), ("-5", 0), ("1e9", 3600)])
async def test_a_waiting_time_is_always_valid(
    scripted: Scripted, gitea_double: Gitea, header: str, seconds: float | None
) -> None:
    scripted.answer(PULL, {"message": "down"}, 503, {"retry-after": header})

    with pytest.raises(ForgeUnavailable) as failed:
        await gitea_double.get_pull_request(1)

    assert failed.value.retry_after == seconds


async def test_a_flood_is_cut_off(scripted: Scripted, gitea_double: Gitea) -> None:
    """I9."""
    scripted.answer(PULL, b" " * (MAX_ANSWER_BYTES + 1))

    with pytest.raises(ForgeUnavailable, match="bytes"):
        await gitea_double.get_pull_request(1)


@pytest.mark.parametrize(
    "content", [b"<html>", b"[]", b'{"number": "one"}', b"null", b"[" * 100_000]
)
async def test_an_answer_of_another_shape_is_reported(
    scripted: Scripted, gitea_double: Gitea, content: bytes
) -> None:
    """I10."""
    scripted.answer(PULL, content)

    with pytest.raises(ForgeUnavailable, match="answer"):
        await gitea_double.get_pull_request(1)


async def test_a_redirect_is_not_followed_with_the_token(
    scripted: Scripted, gitea_double: Gitea
) -> None:
    """I8."""
    scripted.answer(PULL, b"", 302, {"location": f"{scripted.url}/elsewhere"})

    with pytest.raises(ForgeRefused, match="302"):
        await gitea_double.get_pull_request(1)

    assert [path for _, path, _, _ in scripted.requests] == ["/api/v1/repos/acme/web/pulls/1"]


async def test_a_token_in_the_answer_is_redacted_and_long_messages_are_cut(
    scripted: Scripted, gitea_double: Gitea
) -> None:
    """I8, I9."""
    scripted.answer(PULL, {"message": f"bad token {TOKEN} " + "x" * 5000}, 401)

    with pytest.raises(ForgeRefused) as refused:
        await gitea_double.get_pull_request(1)

    assert TOKEN not in str(refused.value)
    assert "bad token ***" in str(refused.value)
    assert len(str(refused.value)) < 1000
