"""The JSON Schemas of Org, Task and plans, and the CustomResourceDefinition derived from them.

`schemas/*.json` is the one source: validation, editors and the CRD all come from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from guildnet import __version__, labels
from guildnet.names import NAME_PATTERN

# Left out of the structural schema: Kubernetes rejects or ignores them.
_NOT_STRUCTURAL = {"$schema", "title", "additionalProperties", "propertyNames", "$defs"}


@cache
def _source(name: str) -> Mapping[str, Any]:
    text = (resources.files("guildnet") / "schemas" / f"{name}.json").read_text()
    parsed: Mapping[str, Any] = json.loads(text)
    return parsed


def org_schema() -> dict[str, Any]:
    """The Org schema with every reference inlined."""
    return dict(_inlined(_source("org")))


def task_schema() -> dict[str, Any]:
    """The Task schema with every reference inlined."""
    return dict(_inlined(_source("task")))


def plan_schema() -> dict[str, Any]:
    """The schema of what `guildnet plan` prints as JSON."""
    return dict(_source("plan"))


def agent_task_spec_schema() -> dict[str, Any]:
    """The Task spec, with the fields that the reconciler adds and those an org may default."""
    spec: dict[str, Any] = _inlined({"$ref": "#/$defs/taskSpec"})
    spec["properties"] |= {
        "run": {"type": "integer", "minimum": 1, "description": "The run to work on."},
        "continues": {
            "type": "string",
            "maxLength": 255,
            "description": "The branch of an earlier pull request that is still open.",
        },
        "dependenciesSucceeded": {
            "type": "boolean",
            "description": "Every task of dependsOn has succeeded.",
        },
    }
    spec["properties"]["agent"] = _inlined({"$ref": "#/$defs/orgAgent"})
    spec["required"] = [*spec["required"], "run"]
    return spec


def crd() -> dict[str, Any]:
    """The `agenttasks.guildnet.io` CustomResourceDefinition."""
    spec = _structural(agent_task_spec_schema())
    spec["x-kubernetes-map-type"] = "atomic"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{labels.PLURAL}.{labels.GROUP}",
            "labels": {labels.APP_VERSION: __version__},
        },
        "spec": {
            "group": labels.GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": labels.PLURAL,
                "singular": "agenttask",
                "kind": labels.KIND_AGENT_TASK,
                "listKind": "AgentTaskList",
                "shortNames": ["at"],
                "categories": ["guildnet"],
            },
            "versions": [
                {
                    "name": labels.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _printer_columns(),
                    "schema": {
                        "openAPIV3Schema": {
                            "description": "One task of an org, as its cluster works on it.",
                            "type": "object",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {
                                    "type": "object",
                                    "properties": {
                                        "name": {
                                            "type": "string",
                                            "maxLength": 50,
                                            "pattern": f"^{NAME_PATTERN}$",
                                        }
                                    },
                                },
                                "spec": spec,
                                "status": _structural(_inlined(_source("status"))),
                            },
                        }
                    },
                }
            ],
        },
    }


def _printer_columns() -> list[dict[str, Any]]:
    def condition(kind: str, field: str) -> str:
        return f".status.conditions[?(@.type=='{kind}')].{field}"

    text = [
        ("Ready", condition("Ready", "status"), 0),
        ("Reason", condition("Ready", "reason"), 0),
        ("Succeeded", condition("Succeeded", "status"), 0),
        ("PR", ".status.pullRequest.url", 0),
        ("Pod", ".status.pod", 1),
        ("Node", ".status.node", 1),
        ("Editor", condition("EditorReady", "reason"), 1),
        ("Mesh", ".status.editor.mesh.name", 1),
    ]
    columns: list[dict[str, Any]] = [
        {"name": name, "type": "string", "jsonPath": path, "priority": priority}
        for name, path, priority in text
    ]
    columns += [
        {"name": name, "type": "integer", "jsonPath": path, "priority": 1}
        for name, path in (("Run", ".status.run"), ("Attempt", ".status.attempt"))
    ]
    cost = {"name": "Cost", "type": "number", "jsonPath": ".status.usage.costUsd", "priority": 1}
    columns.append(cost)
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 0}
    return [*columns, age]


def _inlined(node: Any) -> Any:
    """`node` with every `$ref` into the shared definitions replaced by its definition."""
    if isinstance(node, list):
        return [_inlined(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    target = node.get("$ref")
    if target is not None:
        found = _source("definitions")["$defs"][target.removeprefix("#/$defs/")]
        return {**_inlined(found), **{k: _inlined(v) for k, v in node.items() if k != "$ref"}}
    return {key: _inlined(value) for key, value in node.items()}


def _structural(node: Any) -> Any:
    """The structural schema for Kubernetes: closed objects lose `additionalProperties: false`.

    The API server rejects unknown fields by itself when asked with fieldValidation=Strict.
    """
    if isinstance(node, list):
        return [_structural(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    result: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            result[key] = {name: _structural(child) for name, child in value.items()}
        elif key not in _NOT_STRUCTURAL or (key == "additionalProperties" and value is not False):
            result[key] = _structural(value)
    return result
