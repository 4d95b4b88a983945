"""Where a cluster's secrets lie: in the state directory, or in git, encrypted with age.

They are made once and never again: machines of a cluster with other secrets are another cluster.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from guildnet.age_files import decrypted, encrypted
from guildnet.errors import ConfigurationError
from guildnet.talos.bundle import SecretsBundle, read_bundle
from guildnet.talos.files import RepositoryFiles
from guildnet.talos.spec import TalosSpec
from guildnet.talos.state import TalosState
from guildnet.talos.talosctl import LOCAL_TIMEOUT, Talosctl


def find_bundle(
    spec: TalosSpec, state: TalosState, files: RepositoryFiles, identity: Path | None
) -> SecretsBundle | None:
    """The cluster's secrets; None where there are none yet.

    Raises ConfigurationError where they cannot be read or decrypted.
    """
    if not spec.age_recipients:
        return read_bundle(state.secrets)
    content = files.read(spec.secrets_path)
    if content is None:
        return None
    plain = decrypted(content, identity, spec.secrets_path)
    return SecretsBundle.parsed(plain, spec.secrets_path)


def required_bundle(
    spec: TalosSpec, state: TalosState, files: RepositoryFiles, identity: Path | None
) -> SecretsBundle:
    """The cluster's secrets. Raises ConfigurationError where there are none."""
    found = find_bundle(spec, state, files, identity)
    if found is not None:
        return found
    place = spec.secrets_path if spec.age_recipients else str(state.secrets)
    raise ConfigurationError(
        f"the secrets of {spec.org}'s Talos cluster are missing",
        place=place,
        cure=f"Copy them from the machine that made them; for a new cluster, run `guildnet talos "
        f"gen {spec.org}`.",
    )


def new_secrets(spec: TalosSpec, state: TalosState, tool: Talosctl) -> bytes:
    """A new bundle, or the one in the state directory where one lies there; not stored yet."""
    kept = read_bundle(state.secrets)
    if kept is not None:
        return kept.content
    with tempfile.TemporaryDirectory(prefix="secrets-", dir=state.home()) as scratch:
        path = Path(scratch) / "secrets.yaml"
        version = ("--talos-version", spec.config_version)
        tool.run("gen", "secrets", *version, "--output-file", str(path), timeout=LOCAL_TIMEOUT)
        return path.read_bytes()


def sealed(spec: TalosSpec, content: bytes) -> bytes:
    """A bundle as it may lie in git. Raises ConfigurationError."""
    return encrypted(content, spec.age_recipients)
