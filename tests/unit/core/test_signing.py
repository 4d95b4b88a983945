"""Requests and answers of the agent API cannot be forged, moved or replayed."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from guildnet.agent_api.signing import (
    NonceMemory,
    RequestRejected,
    answer_signature,
    new_nonce,
    parse_key,
    request_auth,
    verify_answer,
    verify_request,
)
from guildnet.errors import AgentAnswerRejected

KEY = bytes(range(32))


def test_the_request_is_signed_over_method_target_nonce_and_body() -> None:
    nonce = "0" * 32
    body = b'{"run":1}'
    message = "\n".join(["POST", "/start?x=1", nonce, hashlib.sha256(body).hexdigest()])
    mac = hmac.new(KEY, message.encode(), "sha256").hexdigest()
    assert request_auth(KEY, nonce, "post", "/start?x=1", body) == f"v1 {nonce} {mac}"


def test_the_answer_is_signed_over_nonce_status_and_body() -> None:
    nonce = "a" * 32
    message = "\n".join(["answer", nonce, "304", hashlib.sha256(b"").hexdigest()])
    mac = hmac.new(KEY, message.encode(), "sha256").hexdigest()
    assert answer_signature(KEY, nonce, 304) == f"v1 {mac}"


def test_a_signed_request_is_taken_once() -> None:
    nonces = NonceMemory()
    nonce = new_nonce()
    header = request_auth(KEY, nonce, "GET", "/state", b"")
    assert verify_request(KEY, header, "GET", "/state", b"", nonces) == nonce
    with pytest.raises(RequestRejected, match="used before"):
        verify_request(KEY, header, "GET", "/state", b"", nonces)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [("GET", "/start", b"x"), ("POST", "/stop", b"x"), ("POST", "/start", b"y")],
)
def test_a_request_moved_elsewhere_is_rejected_and_takes_no_nonce(
    method: str, target: str, body: bytes
) -> None:
    nonces = NonceMemory()
    header = request_auth(KEY, new_nonce(), "POST", "/start", b"x")
    with pytest.raises(RequestRejected, match="does not match"):
        verify_request(KEY, header, method, target, body, nonces)
    assert len(nonces) == 0


@pytest.mark.parametrize(
    "header", [None, "", "v1", "v2 00 00", "v1 zz ff", "v1  ", "v1 " + "é" * 9]
)
def test_a_malformed_header_is_rejected(header: str | None) -> None:
    with pytest.raises(RequestRejected):
        verify_request(KEY, header, "GET", "/state", b"", NonceMemory())


def test_an_answer_to_another_request_or_of_another_body_is_dropped() -> None:
    signature = answer_signature(KEY, "a" * 32, 200, b"{}")
    verify_answer(KEY, signature, "a" * 32, 200, b"{}")
    for nonce, status, body in [
        ("b" * 32, 200, b"{}"),
        ("a" * 32, 202, b"{}"),
        ("a" * 32, 200, b"{ }"),
    ]:
        with pytest.raises(AgentAnswerRejected):
            verify_answer(KEY, signature, nonce, status, body)
    with pytest.raises(AgentAnswerRejected, match="not signed"):
        verify_answer(KEY, None, "a" * 32, 200, b"{}")


def test_the_memory_of_nonces_is_bounded() -> None:
    """I9: what strangers or time add is bounded."""
    nonces = NonceMemory(limit=3)
    assert all(nonces.take(nonce) for nonce in "abcd")
    assert len(nonces) == 3
    assert not nonces.take("d")
    assert nonces.take("a")


@pytest.mark.parametrize("text", ["", "ab", "z" * 64, "0" * 63])
def test_a_bad_key_is_named_without_its_value(text: str) -> None:
    """I8."""
    with pytest.raises(ValueError, match="64 hex digits") as caught:
        parse_key(text)
    assert caught.value.__cause__ is None or text not in str(caught.value)
    assert parse_key("00" * 32 + "\n") == bytes(32)
