"""Parts that are one minor version apart work together; what is older is named with its cure."""

from __future__ import annotations

from typing import Any

import pytest

from guildnet import __version__, labels
from guildnet_cli.cluster.versions import BEFORE, COMMAND, holder_version, skew


def test_equal_versions_need_nothing() -> None:
    parts = {"definition": "0.2.1", "operator": "0.2.0", COMMAND: "0.2.0"}
    assert skew(parts, "acme") == (
        True,
        "definition 0.2.1, operator 0.2.0, this command 0.2.0",
        "",
    )


@pytest.mark.parametrize(
    ("older", "cure"),
    [
        ("reconciler", "Upgrade the reconciler."),
        ("operator", "Run `guildnet org install acme`"),
        (COMMAND, "Upgrade the guildnet package"),
    ],
)
@pytest.mark.parametrize("version", [BEFORE, "0.1.7"])
def test_a_part_that_is_one_minor_version_behind_works_and_is_named(
    older: str, cure: str, version: str
) -> None:
    parts = dict.fromkeys(("definition", "operator", "reconciler", COMMAND), "0.2.0")
    good, message, what_to_do = skew({**parts, older: version}, "acme")
    assert good
    assert f"{older} {version}" in message
    assert what_to_do.startswith(cure)


@pytest.mark.parametrize("version", ["0.1.0", BEFORE, "1.0.0"])
def test_parts_that_are_further_apart_fail(version: str) -> None:
    good, message, cure = skew({"operator": version, "reconciler": "0.3.0"}, "acme")
    assert not good
    assert "more than one minor version apart" in message
    assert cure


def test_a_definition_older_than_the_operator_fails() -> None:
    """The API server would drop the status fields that it does not know."""
    good, message, cure = skew({"definition": "0.1.0", "operator": "0.2.0"}, "acme")
    assert (good, message.rpartition(": ")[2]) == (
        False,
        "the definition is older than the operator",
    )
    assert "guildnet org install acme" in cure


def lease(holder: str, annotation: str | None) -> dict[str, Any]:
    annotations = None if annotation is None else {labels.HOLDER_VERSION: annotation}
    return {"metadata": {"annotations": annotations}, "spec": {"holderIdentity": holder}}


@pytest.mark.parametrize(
    ("given", "version"),
    [
        (None, ""),
        (lease("", f"{__version__} a"), ""),
        (lease("a", f"{__version__} a"), __version__),
        (lease("a", None), BEFORE),
        (lease("b", f"{__version__} a"), BEFORE),  # an older release took it over
        (lease("a", "<script> a"), BEFORE),
    ],
)
def test_a_lease_says_which_version_its_holder_is(
    given: dict[str, Any] | None, version: str
) -> None:
    assert holder_version(given) == version
