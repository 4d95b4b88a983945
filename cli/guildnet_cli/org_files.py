"""What `org add` writes: the org's file and the stored kubeconfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from guildnet.errors import ConfigurationError, InvalidResource, Problem
from guildnet.loading import load_org, path_problem
from guildnet.resources import Source, org_path
from guildnet.state_folder import kubeconfig_path, private_folder, write_private


def new_org(
    name: str,
    *,
    context: str | None,
    namespace: str,
    command: str | None = None,
    egress: Sequence[str] = (),
    preset: str | None = None,
    models: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[str, bytes]:
    """(path, content) of a new org's file; InvalidResource when it would not be valid.

    `command` is a line for sh, with the prompt as its $0: the default of the org's tasks, as is
    `preset`. `models` is spec.models. `egress` is what they may
    reach, each `HOST[:PORT]`, port 443 where none is named.
    """
    import yaml

    path = org_path(name)
    misnamed = path_problem(path)
    if misnamed is not None:
        raise InvalidResource([misnamed])
    cluster: dict[str, Any] = {"kubeconfig": name}
    if context is not None:
        cluster["context"] = context
    cluster["namespace"] = namespace
    spec: dict[str, Any] = {"cluster": cluster}
    if models:
        spec["models"] = dict(models)
    agent: dict[str, Any] = {}
    if preset is not None:
        agent["preset"] = preset
    if command is not None:
        agent["command"] = ["sh", "-c", command, "{prompt}"]
    if egress:
        agent["egress"] = [_opening(place) for place in egress]
    if agent:
        spec["agent"] = agent
    document = {
        "apiVersion": "guildnet.io/v1alpha1",
        "kind": "Org",
        "metadata": {"name": name},
        "spec": spec,
    }
    header = "# yaml-language-server: $schema=../schemas/org.schema.json\n"
    content = (header + yaml.safe_dump(document, sort_keys=False)).encode()
    load_org(content, Source(path))
    return path, content


def model_entry(
    given: str,
    protocols: Sequence[str],
    names: Sequence[str],
    secret: str,
    prices: Sequence[str],
) -> dict[str, Any]:
    """spec.models with the model `NAME=URL`; `prices` are `NAME=INPUT/OUTPUT`.

    Raises InvalidResource for what has another form; the schema checks the rest.
    """
    name, _, url = given.partition("=")
    if not name or not url:
        raise InvalidResource([Problem("--model", 0, f"{given!r} is not NAME=URL")])
    if not protocols or not names:
        missing = "--model-protocol" if not protocols else "--model-name"
        raise InvalidResource([Problem(missing, 0, f"model {name} needs at least one")])
    entry: dict[str, Any] = {
        "protocol": protocols[0] if len(protocols) == 1 else list(protocols),
        "baseURL": url,
        "secret": secret,
        "names": list(names),
    }
    if prices:
        entry["prices"] = dict(_price(text) for text in prices)
    return {name: entry}


def _price(text: str) -> tuple[str, dict[str, float]]:
    name, _, amounts = text.rpartition("=")
    try:
        read, written = (float(amount) for amount in amounts.split("/"))
    except ValueError:
        message = f"{text!r} is not NAME=INPUT/OUTPUT, such as some-model=3/15"
        raise InvalidResource([Problem("--model-price", 0, message)]) from None
    return name, {"input": read, "output": written}


def _opening(place: str) -> dict[str, Any]:
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "443")
    # A port that is none is left to the schema, whose message names the field.
    return {"host": host, "port": int(port) if port.isdecimal() else port}


def store_kubeconfig(name: str, config: Mapping[str, Any]) -> Path:
    """Store it, readable by its owner alone from the first byte; replaces an earlier one."""
    import yaml

    path = kubeconfig_path(name)
    try:
        private_folder(path.parent)
        write_private(path, yaml.safe_dump(dict(config), sort_keys=False).encode())
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", place=str(path)) from error
    return path
