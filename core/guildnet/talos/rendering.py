"""Machine configurations, rendered from git and the cluster's secrets by `talosctl`.

The same spec, patches, secrets and minor version of talosctl give the same bytes. Rendered
configurations hold keys: they are never stored in git, and their files are private.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from guildnet.errors import TalosRefused
from guildnet.state_folder import write_private
from guildnet.talos.bundle import SecretsBundle
from guildnet.talos.spec import Machine, Patch, TalosSpec
from guildnet.talos.talosctl import LOCAL_TIMEOUT, Talosctl

INSTALLER = "ghcr.io/siderolabs/installer"


def render(
    spec: TalosSpec,
    patches: Mapping[str, bytes],
    bundle: SecretsBundle,
    tool: Talosctl,
    machines: tuple[Machine, ...] | None = None,
) -> dict[str, bytes]:
    """The configuration of each of `machines` (all unless given), by address.

    `patches` are the contents of the patch files by path, as `files.read_patches` returns them.
    Raises TalosRefused for a configuration that Talos does not accept, naming its patches.
    """
    tool = tool.knowing(bundle.redact)
    with tempfile.TemporaryDirectory(prefix="render-", dir=tool.home) as scratch:
        folder = Path(scratch)
        secrets = folder / "secrets.yaml"
        write_private(secrets, bundle.content)
        files: dict[str, Path] = {}
        for number, (path, content) in enumerate(patches.items()):
            files[path] = folder / f"patch-{number}.yaml"
            write_private(files[path], content)
        # Machines of one role without patches of their own share a configuration.
        made: dict[tuple[str, tuple[Patch, ...]], bytes] = {}
        rendered: dict[str, bytes] = {}
        for machine in machines if machines is not None else spec.machines:
            applied = spec.patches_for(machine)
            key = (machine.role, tuple(Patch(patch.path) for patch in applied))
            if key not in made:
                paths = [patch.path for patch in applied]
                made[key] = _rendered(
                    spec, machine, tool, patches=paths, files=files, secrets=secrets
                )
            rendered[machine.address] = made[key]
    return rendered


def _rendered(
    spec: TalosSpec,
    machine: Machine,
    tool: Talosctl,
    *,
    patches: list[str],
    files: Mapping[str, Path],
    secrets: Path,
) -> bytes:
    output = secrets.with_name("machine.yaml")
    try:
        tool.run(
            *("gen", "config", spec.org, spec.endpoint, "--force"),
            *("--with-secrets", str(secrets)),
            *("--kubernetes-version", spec.kubernetes_version.removeprefix("v")),
            *("--talos-version", spec.config_version),
            *("--install-image", f"{INSTALLER}:{spec.version}"),
            *("--with-docs=false", "--with-examples=false"),
            *("--output-types", machine.role, "--output", str(output)),
            *(word for path in patches for word in ("--config-patch", f"@{files[path]}")),
            timeout=LOCAL_TIMEOUT,
        )
        tool.run("validate", "--mode", "cloud", "--config", str(output), timeout=LOCAL_TIMEOUT)
    except TalosRefused as error:
        message = error.message
        for path, file in files.items():
            message = message.replace(str(file), path)
        names = ", ".join(PurePosixPath(path).name for path in patches) or "none"
        raise TalosRefused(
            f"the configuration of {machine.address} is invalid: {message}",
            place=f"orgs/{spec.org}.yaml",
            cure=f"Correct spec.talos or the patches that it gets ({names}).",
        ) from error
    try:
        return output.read_bytes()
    except OSError as error:
        raise TalosRefused(
            "talosctl gen config wrote no configuration",
            place=tool.program,
            cure="Install talosctl again.",
        ) from error
