"""What a patch of the machine configuration may contain. Pure.

A patch is one YAML document: keys of Talos' v1alpha1 configuration, or a document with a `kind`.
`talosctl` and the machine judge its fields; here it is checked that nothing in it is a secret,
because it lies in git, and that it can be a patch at all.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from guildnet.errors import InvalidResource, Problem
from guildnet.talos.secret_values import secret_in
from guildnet.talos.versions import NEWEST, minor_of
from guildnet.validation import at
from guildnet.yaml_reader import Place, line_of, parse_yaml

MAX_PROBLEMS = 20
_API_VERSION = "v1alpha1"
_TOP_LEVEL = ("version", "debug", "persist", "machine", "cluster")
# The documents of Talos v1.13: pkg/machinery/config/types in its source.
_KIND_NAMES = """
BlackholeRouteConfig BondConfig BridgeConfig DHCPv4Config DHCPv6Config DummyLinkConfig
EnvironmentConfig EthernetConfig EventSinkConfig ExistingVolumeConfig ExtensionServiceConfig
ExternalVolumeConfig HCloudVIPConfig HostnameConfig ImageVerificationConfig KmsgLogConfig
KubeSpanConfig KubeSpanEndpointsConfig Layer2VIPConfig LinkAliasConfig LinkConfig
NetworkDefaultActionConfig NetworkRuleConfig OOMConfig PCIDriverRebindConfig RawVolumeConfig
RegistryAuthConfig RegistryMirrorConfig RegistryTLSConfig ResolverConfig RoutingRuleConfig
SideroLinkConfig StaticHostConfig SwapVolumeConfig TCPProbeConfig TimeSyncConfig
TrustedRootsConfig UserVolumeConfig VLANConfig VRFConfig VolumeConfig WatchdogTimerConfig
WireguardConfig ZswapConfig
"""
_KINDS = frozenset(_KIND_NAMES.split())


def patch_problems(data: bytes, path: str, talos_version: str) -> list[Problem]:
    """The first problems of a patch file for machines of a Talos version, sorted.

    No message quotes a value of the file.
    """
    try:
        value, lines = parse_yaml(data, path)
    except InvalidResource as error:
        return list(error.problems)
    if not isinstance(value, dict):
        message = "not a mapping: write a strategic merge patch, JSON patches are not supported"
        return [Problem(path, 1, message)]
    found = [*_document_problems(value, talos_version), *_secrets(value, ())]
    problems = (Problem(path, line_of(lines, place), at(place, text)) for place, text in found)
    return sorted(islice(problems, MAX_PROBLEMS))


def _document_problems(
    document: Mapping[str, Any], talos_version: str
) -> Iterator[tuple[Place, str]]:
    if "kind" not in document:
        for key in document:
            if key == "apiVersion":
                yield (key,), "a document with an apiVersion needs a kind"
            elif key not in _TOP_LEVEL:
                near = difflib.get_close_matches(key, _TOP_LEVEL, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                yield (key,), f"not a key of a Talos machine configuration{hint}"
        return
    kind, version = document["kind"], document.get("apiVersion")
    if version != _API_VERSION:
        yield ("apiVersion",), f"missing or not {_API_VERSION}: each document of Talos has it"
    if not isinstance(kind, str):
        yield ("kind",), "not a document of Talos"
    elif kind not in _KINDS and minor_of(talos_version) <= NEWEST:
        near = difflib.get_close_matches(kind, _KINDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        yield ("kind",), f"{kind[:60]!r} is not a document of Talos {talos_version}{hint}"


def _secrets(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """(place, message) of each secret at or below a value; the depth is bounded by the parser."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _secrets(below, (*place, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _secrets(below, (*place, index))
    elif value is not None and not isinstance(value, bool):
        reason = secret_in(place, str(value))
        if reason is not None:
            yield place, f"{reason}; secrets of a cluster never lie in git unencrypted: remove it"
