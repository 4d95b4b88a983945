"""An org's file as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from guildnet.errors import InvalidResource, Problem
from guildnet.loading import load_org
from guildnet.resources import Source, org_path

_HEADER = "# yaml-language-server: $schema=../schemas/org.schema.json\n"


def new_org(
    name: str,
    *,
    context: str | None,
    namespace: str,
    command: str | None = None,
    egress: Sequence[str] = (),
    preset: str | None = None,
    models: Mapping[str, Any] = MappingProxyType({}),
    talos: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[str, bytes]:
    """(path, content) of a new org's file. Raises InvalidResource where it would be invalid.

    `command` is the tasks' default command, a line for sh with the prompt as $0; `preset` their
    default preset; `models` is spec.models, `talos` spec.talos. `egress` lists the destinations
    that agents may connect to, each `HOST[:PORT]`; the default port is 443.
    """
    path = org_path(name)
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
        agent["egress"] = [_egress_rule(destination) for destination in egress]
    if agent:
        spec["agent"] = agent
    if talos:
        spec["talos"] = dict(talos)
    document = {
        "apiVersion": "guildnet.io/v1alpha1",
        "kind": "Org",
        "metadata": {"name": name},
        "spec": spec,
    }
    content = (_HEADER + yaml.safe_dump(document, sort_keys=False)).encode()
    load_org(content, Source(path))
    return path, content


def model_entry(
    model: str,
    *,
    protocols: Sequence[str],
    names: Sequence[str],
    secret: str,
    prices: Sequence[str],
) -> dict[str, Any]:
    """spec.models with one model, `NAME=URL`. Each of `prices` is `NAME=INPUT/OUTPUT`.

    Raises InvalidResource where an argument has another form; the schema checks the rest.
    """
    name, _, url = model.partition("=")
    if not name or not url:
        raise InvalidResource([Problem("--model", 0, f"{model!r} is not NAME=URL")])
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
        entry["prices"] = dict(map(_price, prices))
    return {name: entry}


def _price(text: str) -> tuple[str, dict[str, float]]:
    name, _, amounts = text.rpartition("=")
    try:
        input_price, output_price = map(float, amounts.split("/"))
    except ValueError:
        message = f"{text!r} is not NAME=INPUT/OUTPUT, such as some-model=3/15"
        raise InvalidResource([Problem("--model-price", 0, message)]) from None
    return name, {"input": input_price, "output": output_price}


def _egress_rule(destination: str) -> dict[str, Any]:
    host, _, port = destination.rpartition(":") if ":" in destination else (destination, "", "443")
    # An invalid port stays text: the schema refuses it with a message that names the field.
    return {"host": host, "port": int(port) if port.isdecimal() else port}
