"""Webhooks: signatures of every provider, however the forge packs them, and nothing but them."""

from __future__ import annotations

import hashlib
import hmac
import json
import tracemalloc
from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_reconciler.triggers.form import FormField
from guildnet_reconciler.triggers.webhook import MAX_BODY_BYTES, PROVIDERS, Delivery, Verdict

SECRET = b"s3cret"
PUSH = json.dumps({"ref": "refs/heads/main", "message": "50% & more + é"}).encode()


def signed(provider: str, body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    mac = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {
        "github": {"x-hub-signature-256": f"sha256={mac}"},
        "gitea": {"x-gitea-signature": mac},
        "gitlab": {"x-gitlab-token": secret.decode("latin-1")},
        "bitbucket": {"x-hub-signature": f"sha256={mac}"},
        "generic": {"x-guildnet-signature-256": f"sha256={mac}"},
    }[provider]


def judge(
    provider: str,
    headers: dict[str, str],
    body: bytes,
    *,
    secret: bytes = SECRET,
    chunk: int = 65536,
) -> Verdict:
    delivery = Delivery(provider, headers, secret=secret, branch="main")
    verdict = delivery.refusal()
    for start in range(0, len(body), chunk):
        verdict = verdict or delivery.add(body[start : start + chunk])
    return verdict or delivery.verdict()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "body",
    [PUSH, b"", b"[]", b"not json", b"[" * 100_000, b'{"ref":"\\ud800"}', b"\xff\xfe\x00", b"{}",
     b'{"ref":"refs/heads/status"}', b'{"ref":["x"]}'],
)  # fmt: skip
def test_a_signed_webhook_asks_to_look_whatever_its_body_says(provider: str, body: bytes) -> None:
    verdict = judge(provider, signed(provider, body), body)
    assert (verdict.code, verdict.look) == (202, True)


@given(st.sampled_from(PROVIDERS), st.binary(max_size=2000), st.integers(1, 100))
def test_any_signed_bytes_in_any_chunks_ask_to_look(provider: str, body: bytes, chunk: int) -> None:
    assert judge(provider, signed(provider, body), body, chunk=chunk).look


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_not_signed_asks_for_nothing(provider: str) -> None:
    """I9: a wrong, missing, misplaced or foreign signature, and no secret at all."""
    odd = dict.fromkeys(signed(provider, PUSH), "sha256=éÿ")
    for headers in ({}, signed(provider, PUSH, b"other"), {"authorization": "s3cret"}, odd):
        verdict = judge(provider, headers, PUSH)
        assert (verdict.code, verdict.look) == (401, False)
    assert judge(provider, signed(provider, PUSH, b""), PUSH, secret=b"").code == 403


def test_a_missing_signature_is_named() -> None:
    """I10: another cause than two secrets that differ."""
    assert "x-hub-signature-256 is missing" in judge("github", {}, PUSH).message
    assert "compare the secrets" in judge("github", signed("github", b"x"), PUSH).message


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 65536])
@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=UTF-8", ""],
)
def test_forms_are_taken_as_each_forge_signs_them(chunk: int, content_type: str) -> None:
    """GitHub signs the form; Gitea and Forgejo sign the JSON in it."""
    form = urlencode({"payload": PUSH.decode()}).encode()
    headers = {"content-type": content_type}
    assert judge("github", {**headers, **signed("github", form)}, form, chunk=chunk).look
    assert judge("gitea", {**headers, **signed("gitea", PUSH)}, form, chunk=chunk).look
    assert judge("gitea", {**headers, **signed("gitea", form)}, form, chunk=chunk).look
    assert judge("github", {**headers, **signed("github", PUSH)}, form, chunk=chunk).code == 401
    forged = urlencode({"payload": "{}", "x": PUSH.decode()}).encode()
    assert judge("gitea", {**headers, **signed("gitea", PUSH)}, forged, chunk=chunk).code == 401


def test_forgejo_and_gogs_sign_under_their_own_names() -> None:
    mac = signed("gitea", PUSH)["x-gitea-signature"]
    for name in ("x-forgejo-signature", "x-gogs-signature"):
        assert judge("gitea", {name: mac}, PUSH).look


@given(st.binary(max_size=200), st.integers(1, 20), st.sampled_from([b"", b"&x=1", b"&"]))
def test_a_field_is_decoded_alike_however_it_is_cut(value: bytes, chunk: int, more: bytes) -> None:
    body = b"payload=" + quote_plus(value).encode() + more
    field = FormField(b"payload")
    parts = [field.add(body[at : at + chunk]) for at in range(0, len(body), chunk)]
    assert b"".join(parts) == value


def test_an_escape_that_is_not_one_is_kept() -> None:
    field = FormField(b"payload")
    assert field.add(b"payload=50%") + field.add(b"zz%4") + field.add(b"1&") == b"50%zzA"


def test_a_secret_beyond_ascii_is_compared_by_its_bytes() -> None:
    secret = "pässwort-€".encode()
    assert judge("gitlab", signed("gitlab", PUSH, secret), PUSH, secret=secret).look


@pytest.mark.parametrize("provider", ["github", "gitea"])
def test_a_signed_ping_is_no_work(provider: str) -> None:
    headers = {**signed(provider, PUSH), f"x-{provider}-event": "ping"}
    verdict = judge(provider, headers, PUSH)
    assert (verdict.code, verdict.look) == (200, False)
    assert judge(provider, {f"x-{provider}-event": "ping"}, PUSH).code == 401


def test_bitbuckets_test_is_answered_signed_or_not() -> None:
    """Data Center sends it unsigned: it must neither fail nor do anything."""
    body = b'{"test": true}'
    test = {"x-event-key": "diagnostics:ping"}
    for headers in (test, {**test, **signed("bitbucket", body)}):
        verdict = judge("bitbucket", headers, body)
        assert (verdict.code, verdict.look) == (200, False)
    assert judge("bitbucket", {**test, **signed("bitbucket", b"x")}, body).code == 401
    assert judge("github", {**test, "x-github-event": "ping"}, body).code == 401


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate"])
def test_a_compressed_body_is_refused_by_name(encoding: str) -> None:
    verdict = judge("github", {**signed("github", PUSH), "content-encoding": encoding}, PUSH)
    assert verdict.code == 415
    assert encoding in verdict.message
    plain = {**signed("github", PUSH), "content-encoding": "identity"}
    assert judge("github", plain, PUSH).look


@pytest.mark.parametrize("provider", PROVIDERS)
def test_bodies_are_bounded_and_never_held(provider: str) -> None:
    """I9."""
    whole = b"payload=" + b"x" * (MAX_BODY_BYTES - 8)
    headers = signed(provider, whole)
    delivery = Delivery(provider, headers, secret=SECRET, branch="main")
    tracemalloc.start()
    try:
        for start in range(0, MAX_BODY_BYTES, 65536):
            assert delivery.add(whole[start : start + 65536]) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024
    assert delivery.verdict().look
    too_large = delivery.add(b"x")
    assert too_large is not None
    assert too_large.code == 413


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "9" * 5000])
def test_a_length_beyond_the_bound_is_refused_before_the_body(length: str) -> None:
    delivery = Delivery(
        "gitea", {**signed("gitea", PUSH), "content-length": length}, secret=SECRET, branch="main"
    )
    refusal = delivery.refusal()
    assert refusal is not None
    assert refusal.code == 413


def test_an_unknown_provider_is_answered_with_those_there_are() -> None:
    verdict = judge("ft\ud800p" + "x" * 1000, {}, b"")
    assert verdict.code == 404
    assert "github" in verdict.message
    assert len(verdict.message.encode()) < 200
