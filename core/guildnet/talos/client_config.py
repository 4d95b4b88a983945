"""The talosconfig: the client certificate with which this machine reaches the org's machines."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import yaml

from guildnet.errors import ConfigurationError
from guildnet.talos.bundle import SecretsBundle
from guildnet.talos.certificates import RENEW_BEFORE, end_of, talosconfig_credentials
from guildnet.talos.spec import TalosSpec
from guildnet.talos.state import TalosState
from guildnet.talos.talosctl import LOCAL_TIMEOUT, Talosctl

MAX_BYTES = 64 * 1024


def ensure_talosconfig(
    spec: TalosSpec, bundle: SecretsBundle, state: TalosState, tool: Talosctl
) -> bool:
    """Make the talosconfig where it is missing, ends within 30 days, is of another cluster or names
    other machines. Whether it was made. The cluster's secrets suffice for it, also after the old
    one has ended."""
    if _is_current(spec, bundle, state.talosconfig):
        return False
    state.write(state.talosconfig, _made(spec, bundle, state, tool))
    return True


def _is_current(spec: TalosSpec, bundle: SecretsBundle, path: Path) -> bool:
    try:
        with path.open("rb") as file:
            found = talosconfig_credentials(file.read(MAX_BYTES), str(path))
        assert found.certificate is not None
        left = end_of(found.certificate, str(path)) - datetime.now(UTC)
    except (OSError, ConfigurationError, AssertionError):
        return False
    return (
        left > RENEW_BEFORE
        and found.authority == bundle.authorities["os"]
        and found.endpoints == _endpoints(spec)
    )


def _endpoints(spec: TalosSpec) -> tuple[str, ...]:
    return tuple(machine.address for machine in spec.control_planes)


def _made(spec: TalosSpec, bundle: SecretsBundle, state: TalosState, tool: Talosctl) -> bytes:
    with tempfile.TemporaryDirectory(prefix="client-", dir=state.home()) as scratch:
        secrets, output = Path(scratch) / "secrets.yaml", Path(scratch) / "talosconfig"
        state.write(secrets, bundle.content)
        tool.knowing(bundle.redact).run(
            *("gen", "config", spec.org, spec.endpoint, "--with-secrets", str(secrets)),
            *("--talos-version", spec.config_version),
            *("--output-types", "talosconfig", "--output", str(output)),
            timeout=LOCAL_TIMEOUT,
        )
        try:
            document = yaml.safe_load(output.read_bytes())
            context = document["contexts"][document["context"]]
            # So that `talosctl --talosconfig FILE ...` by hand works at once.
            context["endpoints"] = list(_endpoints(spec))
            context["nodes"] = list(_endpoints(spec))
        except (OSError, yaml.YAMLError, KeyError, TypeError, IndexError) as error:
            raise ConfigurationError(
                "talosctl gen config wrote no talosconfig",
                place=tool.program,
                cure="Install talosctl again.",
            ) from error
    return yaml.safe_dump(document, sort_keys=False).encode()
