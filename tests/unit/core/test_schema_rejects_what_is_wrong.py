"""The schemas: every field and every rule of them, and what else loading refuses."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from tests.unit.core.schema_mutations import FULL_SPEC, mutations, unused

from guildnet import __version__, schema
from guildnet.digest import canonical_json
from guildnet.errors import InvalidResource
from guildnet.loading import load_task
from guildnet.resources import Source

TASK = schema.task_schema()
SPEC = TASK["properties"]["spec"]


def document(spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "guildnet.io/v1alpha1",
        "kind": "Task",
        "metadata": {"name": "fix", "labels": {"team": "web"}},
        "spec": spec,
    }


def load(spec: Any) -> None:
    """Canonical JSON is YAML as well."""
    load_task(canonical_json(document(spec)), Source("tasks/acme/fix.yaml"))


def test_the_full_task_is_valid_and_leaves_no_field_out() -> None:
    load(FULL_SPEC)
    assert unused(SPEC, FULL_SPEC) == []


def test_each_rule_of_the_schema_is_kept_by_loading() -> None:
    """I9, I10: what breaks one rule is refused, with a place and words."""
    accepted = []
    for broken, spec in mutations(SPEC, FULL_SPEC):
        try:
            load(spec)
        except InvalidResource as refused:
            for problem in refused.problems:
                assert (problem.path, problem.line) == ("tasks/acme/fix.yaml", 1)
                assert problem.message
        else:
            accepted.append(broken)
    assert accepted == []


@pytest.mark.parametrize("kind", ["org", "task"])
def test_the_schemas_are_schemas_and_stand_alone(kind: str) -> None:
    found = schema.org_schema() if kind == "org" else schema.task_schema()
    jsonschema.Draft202012Validator.check_schema(found)
    assert "$ref" not in str(found)


def objects(node: Any) -> list[dict[str, Any]]:
    """Every schema of an object with fields, below `node`."""
    if isinstance(node, list):
        return [found for item in node for found in objects(item)]
    if not isinstance(node, dict):
        return []
    own = [node] if isinstance(node.get("properties"), dict) else []
    return own + [found for value in node.values() for found in objects(value)]


@pytest.mark.parametrize("kind", ["org", "task"])
def test_every_object_is_closed_and_every_text_bounded(kind: str) -> None:
    """I9: no field is unknown, none without bound."""
    found = schema.org_schema() if kind == "org" else schema.task_schema()
    for node in objects(found):
        assert node.get("additionalProperties") is False, sorted(node["properties"])
        for name, child in node["properties"].items():
            if child.get("type") == "string":
                assert "maxLength" in child or "enum" in child, name
            if child.get("type") == "array":
                assert "maxItems" in child, name


def test_the_definition_is_derived_and_changes_nothing_shared() -> None:
    first = schema.crd()
    first["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clear()
    second = schema.crd()
    assert second["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    before = copy.deepcopy(schema.task_schema())
    schema.agent_task_spec_schema()["properties"].clear()
    assert schema.task_schema() == before


def test_the_definition_has_what_the_design_names() -> None:
    crd = schema.crd()
    version = crd["spec"]["versions"][0]
    assert crd["metadata"]["name"] == "agenttasks.guildnet.io"
    assert crd["metadata"]["labels"] == {"app.kubernetes.io/version": __version__}
    assert crd["spec"]["names"]["shortNames"] == ["at"]
    assert crd["spec"]["names"]["categories"] == ["guildnet"]
    assert version["subresources"] == {"status": {}}
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert spec["x-kubernetes-map-type"] == "atomic"
    assert "'default':" not in str(spec)
    columns = version["additionalPrinterColumns"]
    assert [c["name"] for c in columns if c["priority"] == 0] == [
        *("Ready", "Reason", "Succeeded", "PR", "Age")
    ]
    assert {c["name"] for c in columns if c["priority"] == 1} == {
        *("Run", "Attempt", "Pod", "Node", "Editor", "Mesh", "Cost")
    }
