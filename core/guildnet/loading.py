"""Loads resources from files of a state repository; reports problems with path and line.

`yaml_reader` parses YAML and `validation` checks schemas. This module knows the paths, and the
rules that a schema cannot express.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any

from guildnet.addresses import dns_server_problem
from guildnet.agent_rules import resource_problems
from guildnet.errors import InvalidResource, Problem
from guildnet.mesh import mesh_problems, tag_problems
from guildnet.model_rules import org_model_problems
from guildnet.names import is_name
from guildnet.notify.receivers import notify_problems
from guildnet.resources import ClusterRef, Org, PrunePolicy, Source, Task
from guildnet.talos.rules import org_talos_problems
from guildnet.validation import at, schema_problems
from guildnet.yaml_reader import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    Place,
    line_of,
    parse_yaml,
    plain_value,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_FILE_BYTES",
    "Place",
    "ResourcePath",
    "line_of",
    "load_org",
    "load_task",
    "parse_path",
    "parse_yaml",
    "path_problem",
    "plain_value",
]

_MAX_PROBLEMS = 50


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """The resource that a path in a state repository names: `task` is None for an org's file."""

    org: str
    task: str | None


def parse_path(path: str) -> ResourcePath | None:
    """The resource that a path names; None for other files (README, schemas)."""
    parts = path.split("/")
    if not parts[-1].endswith(".yaml") or parts[-1].startswith("."):
        return None
    stem = parts[-1].removesuffix(".yaml")
    if len(parts) == 2 and parts[0] == "orgs":
        return ResourcePath(stem, None)
    if len(parts) == 3 and parts[0] == "tasks":
        return ResourcePath(parts[1], stem)
    return None


def path_problem(path: str) -> Problem | None:
    """The problem with a path under orgs/ or tasks/; None for a valid or unrelated path."""
    parts = path.split("/")
    if parts[0] not in ("orgs", "tasks") or parts[-1].startswith("."):
        return None
    identity = parse_path(path)
    if identity is None:
        return Problem(path, 0, "expected orgs/<org>.yaml or tasks/<org>/<task>.yaml")
    for name in (identity.org, identity.task):
        if name is not None and not is_name(name):
            return Problem(
                path, 0, f"{name!r} is not a lower-case DNS label of at most 50 characters"
            )
    return None


def load_org(data: bytes, source: Source) -> Org:
    """The Org in `data`. Raises InvalidResource with the first 50 problems."""
    document = _load(data, source, "org")
    spec = document["spec"]
    cluster = spec["cluster"]
    prune = spec.get("prune", {})
    return Org(
        name=document["metadata"]["name"],
        cluster=ClusterRef(cluster["kubeconfig"], cluster["namespace"], cluster.get("context")),
        spec=spec,
        source=source,
        prune=PrunePolicy(
            prune.get("enabled", True), prune.get("maxPercent", 20), prune.get("minObjects", 5)
        ),
    )


def load_task(data: bytes, source: Source) -> Task:
    """The Task in `data`. Raises InvalidResource with the first 50 problems."""
    document = _load(data, source, "task")
    return Task(
        org=PurePosixPath(source.path).parts[1],
        name=document["metadata"]["name"],
        spec=document["spec"],
        source=source,
        labels=document["metadata"].get("labels", {}),
    )


def _load(data: bytes, source: Source, kind: str) -> Any:
    misplaced = path_problem(source.path)
    if misplaced is not None:
        raise InvalidResource([misplaced])
    value, lines = parse_yaml(data, source.path)
    # Bounded: a hostile file could have millions of problems.
    problems = [*islice(schema_problems(value, lines, source.path, kind), _MAX_PROBLEMS)]
    if not problems:
        check = _task_problems if kind == "task" else _org_problems
        problems = [*_name_problems(value, lines, source.path), *check(value, lines, source.path)]
    if problems:
        raise InvalidResource(sorted(problems)[:_MAX_PROBLEMS])
    return value


def _name_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    stem = PurePosixPath(path).stem
    name = value["metadata"]["name"]
    if name != stem:
        line = line_of(lines, ("metadata", "name"))
        yield Problem(path, line, f"metadata.name is {name!r}; the file's name says {stem!r}")


def _org_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    yield from _env_problems(value, lines, path)
    yield from _resource_problems(value, lines, path)
    yield from _dns_problems(value, lines, path)
    spec = value["spec"]
    name = PurePosixPath(path).stem
    for below, message in chain(
        org_model_problems(spec),
        mesh_problems(spec),
        tag_problems(name, spec),
        notify_problems(spec),
        org_talos_problems(name, spec),
    ):
        place: Place = ("spec", *below)
        yield Problem(path, line_of(lines, place), at(place, message))


def _dns_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    for index, server in enumerate(value["spec"].get("dns", [])):
        place: Place = ("spec", "dns", index, "address")
        address = server["address"]
        try:
            problem = dns_server_problem(address, server.get("port", 53))
        except ValueError:
            problem = f"{address!r} is not an IPv4 or IPv6 address"
        if problem is not None:
            yield Problem(path, line_of(lines, place), at(place, problem))


def _task_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    yield from _env_problems(value, lines, path)
    yield from _resource_problems(value, lines, path)
    spec = value["spec"]
    contexts = spec.get("context", [])
    for index, context in enumerate(contexts):
        if context["name"] in {earlier["name"] for earlier in contexts[:index]}:
            place: Place = ("spec", "context", index, "name")
            message = f"a second context named {context['name']!r}"
            yield Problem(path, line_of(lines, place), at(place, message))
    wanted = spec.get("pullRequest", {}).get("context")
    if wanted and wanted not in {c["name"] for c in contexts if "git" in c}:
        place = ("spec", "pullRequest", "context")
        message = f"{wanted!r} is not a git context of this task"
        yield Problem(path, line_of(lines, place), at(place, message))
    dependencies = spec.get("dependsOn", [])
    for index, name in enumerate(dependencies):
        place = ("spec", "dependsOn", index)
        if name == value["metadata"]["name"]:
            yield Problem(path, line_of(lines, place), at(place, "a task cannot wait for itself"))
        if name in dependencies[:index]:
            yield Problem(path, line_of(lines, place), at(place, f"{name!r} is named twice"))


def _resource_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    line = line_of(lines, ("spec", "agent", "resources"))
    for message in resource_problems(value["spec"].get("agent", {})):
        yield Problem(path, line, message)


def _env_problems(value: Any, lines: Mapping[Place, int], path: str) -> Iterator[Problem]:
    entries = value["spec"].get("agent", {}).get("env", [])
    for index, entry in enumerate(entries):
        if entry["name"] in {earlier["name"] for earlier in entries[:index]}:
            place: Place = ("spec", "agent", "env", index, "name")
            yield Problem(path, line_of(lines, place), at(place, f"{entry['name']!r} is set twice"))
