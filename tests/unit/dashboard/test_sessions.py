"""What browsers keep: nobody makes, changes or reuses a value without the key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_dashboard.sign_in.sessions import (
    MAX_VALUE_BYTES,
    SessionTooLarge,
    Signer,
    begin,
    new_binding,
    read_session,
    resume,
    session_value,
)
from guildnet_dashboard.viewer import Viewer

OLD, NEW = b"o" * 32, b"n" * 32
SIGNER = Signer([OLD])
ADA = Viewer("ada", frozenset(["acme", "globex"]), 100.0)
NOW = 50.0


@pytest.mark.parametrize(
    "viewer", [ADA, Viewer("root", None, 100.0), Viewer("eve", frozenset(), 100.0)]
)
def test_a_session_is_read_as_it_was_made(viewer: Viewer) -> None:
    assert read_session(SIGNER, session_value(SIGNER, viewer, 100.0), NOW) == viewer


def test_a_session_ends() -> None:
    value = session_value(SIGNER, ADA, 100.0)
    assert read_session(SIGNER, value, 99.9) is not None
    assert read_session(SIGNER, value, 100.0) is None


def test_keys_are_replaced_one_by_one() -> None:
    value = session_value(SIGNER, ADA, 100.0)
    assert read_session(Signer([NEW, OLD]), value, NOW) == ADA
    assert read_session(Signer([NEW]), value, NOW) is None
    assert read_session(SIGNER, session_value(Signer([NEW, OLD]), ADA, 100.0), NOW) is None


def test_a_value_serves_one_purpose() -> None:
    """The state of a sign-in is not a session, although the same key signs both."""
    binding = new_binding()
    state = begin(SIGNER, binding, "/", NOW)
    session = session_value(SIGNER, ADA, 100.0)
    assert read_session(SIGNER, state.value, NOW) is None
    assert resume(SIGNER, binding, session, NOW) is None


@given(st.text(max_size=80) | st.text(alphabet="aA0-_.", max_size=200))
def test_other_text_is_not_a_session(text: str) -> None:
    assert read_session(SIGNER, text, NOW) is None


@given(st.integers(0, 10_000), st.characters(codec="ascii"))
def test_a_changed_character_ends_a_session(at: int, character: str) -> None:
    value = session_value(SIGNER, ADA, 100.0)
    at %= len(value)
    changed = value[:at] + character + value[at + 1 :]
    assert changed == value or read_session(SIGNER, changed, NOW) is None


def test_a_session_fits_into_a_cookie() -> None:
    names = [f"org-{number:03}" for number in range(400)]
    value = session_value(SIGNER, Viewer("ada", frozenset(names[:200])), 100.0)
    assert len(value) <= MAX_VALUE_BYTES
    with pytest.raises(SessionTooLarge):
        session_value(SIGNER, Viewer("ada", frozenset(names)), 100.0)


def test_a_sign_in_belongs_to_one_browser() -> None:
    binding = new_binding()
    state = begin(SIGNER, binding, "/orgs/acme", NOW)
    assert resume(SIGNER, binding, state.value, NOW + 60) == state
    assert resume(SIGNER, new_binding(), state.value, NOW + 60) is None
    assert resume(SIGNER, binding, state.value, NOW + 1801) is None


def test_each_sign_in_has_its_own_secrets() -> None:
    """Neither the nonce nor the verifier follows from what the provider or a log sees."""
    binding = new_binding()
    states = [begin(SIGNER, binding, "/", NOW) for _ in range(3)]
    values = [v for s in states for v in (s.value, s.nonce, s.verifier, s.challenge)]
    assert len(set(values)) == len(values)
    assert all(43 <= len(state.verifier) <= 128 for state in states)  # RFC 7636, 4.1
