"""Which versions of GuildNet's parts work in an org's cluster, and whether they work together.

Parts may be one minor version apart, so that they can be upgraded one after the other. The CRD
must not be older than the operator: the API server drops status fields that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from guildnet import kube, labels, schema
from guildnet.kube import KubeClient

#: What the versions before the first one that says which it is are called.
BEFORE = "before 0.2.0"
DEFINITION = "definition"
COMMAND = "this command"
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})")
_BEFORE_NUMBER = (0, 1)


async def versions_in(client: KubeClient, namespace: str) -> dict[str, str]:
    """The version of the definition, the operator and the reconciler; only of those that there
    are. Raises KubeError."""
    crd = await client.find(kube.CUSTOM_RESOURCE_DEFINITIONS, schema.crd()["metadata"]["name"])
    found = {}
    if crd is not None:
        given = (crd["metadata"].get("labels") or {}).get(labels.APP_VERSION)
        found[DEFINITION] = _checked(given)
    for part, lease in (("operator", labels.OPERATOR), ("reconciler", labels.RECONCILER)):
        version = holder_version(await client.find(kube.LEASES, lease, namespace))
        if version:
            found[part] = version
    return found


def holder_version(lease: Mapping[str, Any] | None) -> str:
    """The version of the process that holds a Lease; empty if none does."""
    holder = ((lease or {}).get("spec") or {}).get("holderIdentity")
    if not holder or lease is None:
        return ""
    annotations = lease["metadata"].get("annotations") or {}
    version, _, writer = str(annotations.get(labels.HOLDER_VERSION, "")).partition(" ")
    return _checked(version if writer == holder else None)


def _checked(version: Any) -> str:
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else BEFORE


def skew(versions: Mapping[str, str], org: str) -> tuple[bool, str, str]:
    """Whether these versions work together, which they are, and what to upgrade.

    `versions` includes `COMMAND`. All three texts name parts by their keys.
    """
    listed = ", ".join(f"{part} {version}" for part, version in versions.items())
    numbers = {part: _number(version) for part, version in versions.items()}
    newest = max(numbers.values())
    behind = [part for part, number in numbers.items() if number < newest]
    if not behind:
        return True, listed, ""
    cure = " ".join(dict.fromkeys(_cure(part, org) for part in behind))
    operator = numbers.get("operator", (0, 0))
    if numbers.get(DEFINITION, operator) < operator:
        return False, f"{listed}: the definition is older than the operator", cure
    if any(_is_too_old(numbers[part], newest) for part in behind):
        return False, f"{listed}: more than one minor version apart", cure
    return True, f"{listed}: they work together until all are upgraded", cure


def _number(version: str) -> tuple[int, int]:
    found = _VERSION.fullmatch(version)
    return (int(found[1]), int(found[2])) if found else _BEFORE_NUMBER


def _is_too_old(number: tuple[int, int], newest: tuple[int, int]) -> bool:
    return number[0] != newest[0] or newest[1] - number[1] > 1


def _cure(part: str, org: str) -> str:
    if part == COMMAND:
        return "Upgrade the guildnet package on this machine."
    if part == "reconciler":
        return "Upgrade the reconciler."
    return (
        f"Run `guildnet org install {org}` of the newest version, or upgrade the chart's release."
    )
