"""Webhooks: signatures of every provider, sizes, pings, other branches."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_reconciler.triggers.webhook import MAX_BODY_BYTES, PROVIDERS, judge

SECRET = b"s3cret"
PUSH = json.dumps({"ref": "refs/heads/main"}).encode()


def signed(provider: str, body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    mac = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {
        "github": {"x-hub-signature-256": f"sha256={mac}"},
        "gitea": {"x-gitea-signature": mac},
        "gitlab": {"x-gitlab-token": secret.decode()},
        "bitbucket": {"x-hub-signature": f"sha256={mac}"},
        "generic": {"x-guildnet-signature-256": f"sha256={mac}"},
    }[provider]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_signed_push_asks_to_look(provider: str) -> None:
    verdict = judge(provider, signed(provider, PUSH), PUSH, secret=SECRET, branch="main")
    assert (verdict.code, verdict.look) == (202, True)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_not_signed_asks_for_nothing(provider: str) -> None:
    """I9: a wrong, missing or foreign signature, and no secret at all."""
    for headers in ({}, signed(provider, PUSH, b"other"), {"authorization": "s3cret"}):
        verdict = judge(provider, headers, PUSH, secret=SECRET, branch="main")
        assert (verdict.code, verdict.look) == (401, False)
    assert judge(provider, signed(provider, PUSH, b""), PUSH, secret=b"", branch="main").code == 401


def test_another_branch_and_pings_are_no_work() -> None:
    body = json.dumps({"ref": "refs/heads/status"}).encode()
    assert not judge("gitea", signed("gitea", body), body, secret=SECRET, branch="main").look
    headers = {**signed("github", PUSH), "x-github-event": "ping"}
    assert judge("github", headers, PUSH, secret=SECRET, branch="main").code == 200


def test_bitbucket_tells_branches_in_two_ways() -> None:
    cloud = json.dumps({"push": {"changes": [{"new": {"name": "main"}}]}}).encode()
    server = json.dumps({"changes": [{"ref": {"id": "refs/heads/main"}}]}).encode()
    for body in (cloud, server):
        verdict = judge("bitbucket", signed("bitbucket", body), body, secret=SECRET, branch="main")
        assert verdict.look
    other = json.dumps({"push": {"changes": [{"new": {"name": "x"}}]}}).encode()
    assert not judge(
        "bitbucket", signed("bitbucket", other), other, secret=SECRET, branch="main"
    ).look


def test_sizes_and_shapes_are_bounded() -> None:
    """I9."""
    large = b"x" * (MAX_BODY_BYTES + 1)
    assert judge("gitea", signed("gitea", large), large, secret=SECRET, branch="main").code == 413
    for body in (b"[]", b"not json", b"[" * 100_000):
        assert judge("gitea", signed("gitea", body), body, secret=SECRET, branch="main").code == 400
    assert judge("ftp", {}, b"", secret=SECRET, branch="main").code == 404


@given(
    st.sampled_from(PROVIDERS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["ref", "push", "changes", "new", "old", "name", "id"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    ),
)
def test_no_signed_body_breaks_the_parser(provider: str, content: object) -> None:
    """I9: any JSON gets an answer."""
    body = json.dumps(content).encode()
    verdict = judge(provider, signed(provider, body), body, secret=SECRET, branch="main")
    assert verdict.code in (202, 400)
