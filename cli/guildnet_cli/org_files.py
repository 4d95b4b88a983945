"""What `org add` writes: the org's file and the stored kubeconfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guildnet.errors import ConfigurationError, InvalidResource
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
) -> tuple[str, bytes]:
    """(path, content) of a new org's file; InvalidResource when it would not be valid.

    `command` is a line for sh, with the prompt as its $0: the default of the org's tasks.
    `egress` is what they may reach, each `HOST[:PORT]`, port 443 where none is named.
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
    agent: dict[str, Any] = {}
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
