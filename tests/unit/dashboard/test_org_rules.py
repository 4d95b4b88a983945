"""Which orgs the claims of a person grant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.errors import ConfigurationError
from guildnet.names import is_name
from guildnet_dashboard.sign_in.claims import OrgRules, person_name, read_org_map

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("value", "orgs"),
    [
        (["acme", "acme:developers", "globex"], {"acme", "globex"}),  # Gitea
        ("acme", {"acme"}),
        (["/acme", "Acme", "a c", "", "x" * 51, "../acme"], set()),
        ([], set()),
        (None, set()),
        ({"acme": True}, set()),
        (7, set()),
    ],
)
def test_a_value_grants_the_org_of_the_same_name(value: Any, orgs: set[str]) -> None:
    assert OrgRules("groups").orgs({"groups": value}) == frozenset(orgs)


def test_with_a_map_nothing_else_grants_an_org() -> None:
    rules = OrgRules("groups", {"/staff": frozenset(["acme", "globex"]), "x": frozenset()})
    assert rules.orgs({"groups": ["/staff", "acme", "x"]}) == frozenset(["acme", "globex"])
    assert rules.orgs({"groups": ["globex"]}) == frozenset()


def test_an_admin_group_grants_every_org() -> None:
    rules = OrgRules("roles", {}, frozenset(["root"]))
    assert rules.orgs({"roles": ["a", "root"]}) is None
    assert rules.orgs({"groups": ["root"]}) == frozenset()


@given(ANY)
def test_any_claim_grants_names_or_nothing(value: Any) -> None:
    orgs = OrgRules("groups").orgs({"groups": value})
    assert orgs is not None
    assert all(map(is_name, orgs))
    assert person_name({"preferred_username": value, "sub": "1"})


def test_a_persons_name_is_one_short_line() -> None:
    assert person_name({"name": "Ada\nL\x1b[31m " + "x" * 200}).startswith("Ada L\ufffd[31m xxx")
    assert len(person_name({"name": "x" * 200})) == 80
    assert person_name({"email": " ", "sub": "7"}) == "7"
    assert person_name({"name": "\ud800"}).encode() == "\ufffd".encode()


def test_the_map_file(tmp_path: Path) -> None:
    path = tmp_path / "orgs.yaml"
    path.write_text("acme:developers: [acme]\n/staff: [acme, globex]\n")
    assert read_org_map(path) == {
        "acme:developers": {"acme"},
        "/staff": {"acme", "globex"},
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [acme]\nb: acme\n", 2),
        ("a: [acme]\nb: [Acme]\n", 2),
        ("a:\n- acme\n- 7\n", 1),
        ("- acme\n", 0),
        ("", 0),
        ("a: [acme\n", 0),
    ],
)
def test_an_invalid_map_file_is_refused_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "orgs.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refusal:
        read_org_map(path)
    assert refusal.value.place == (f"{path}:{line}" if line else str(path))
    assert refusal.value.cure
