"""Settings of supervisor and shim, read once in each ``main`` from the environment.

The defaults fit the agent's pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guildnet.labels import AGENT_PORT, EDITOR_PORT, GATEWAY_PORT


@dataclass(frozen=True)
class Settings:
    """Paths, ports and limits of the agent's pod. Each can be set as ``GUILDNET_<NAME>``."""

    exchange_in: Path = Path("/exchange/in")
    """Written by the supervisor, read-only in ``work``: job, stop request, contexts."""

    exchange_out: Path = Path("/exchange/out")
    """Written by ``work``, read-only in ``supervisor``: results, bundles, artifacts, log."""

    workspace: Path = Path("/workspace")
    """The volume that the command works in; only ``work`` mounts it."""

    agent_dir: Path = Path("/run/guildnet/agent")
    """The Secret with ``api-key`` and ``task.json``; only ``supervisor`` mounts it."""

    git_dir: Path = Path("/run/guildnet/git")
    """A folder for each git Secret of the task; only ``supervisor`` mounts it."""

    model_dir: Path = Path("/run/guildnet/model")
    """The Secret with the model's ``api-key``; only ``supervisor`` mounts it."""

    config_maps_dir: Path = Path("/run/guildnet/configmaps")
    """A folder for each ConfigMap that is a context of the task."""

    mesh_dir: Path = Path("/run/guildnet/mesh")
    """The folder of tailscaled's socket, in an agent with a mesh; only ``mesh`` and ``supervisor``
    mount it."""

    home: Path = Path("/home/agent")
    """``$HOME`` of this container; ``.guildnet/state`` in it is the state folder."""

    listen: str = "0.0.0.0"  # noqa: S104
    """The address of the agent API. The pod proxy connects from outside the pod."""

    port: int = AGENT_PORT
    """The port of the agent API."""

    gateway_port: int = GATEWAY_PORT
    """The port of the model gateway, on the pod's loopback."""

    usage_seconds: int = 30
    """The shortest time between two updates of a running command's model usage."""

    editor: bool = True
    """Whether the shim starts the editor. ``0`` disables it."""

    editor_port: int = EDITOR_PORT
    """The port of the editor."""

    editor_program: str = "code-server"
    """The editor's program, looked up on PATH."""

    editor_suffix: str = ""
    """Suffix of the editor's cookie, so that two editors on one host keep their own sessions."""

    max_bundle_bytes: int = 512 * 1024 * 1024
    """The largest bundle that the supervisor copies from ``work``."""

    max_unpacked_bytes: int = 4 * 1024 * 1024 * 1024
    """The limit for the unpacked size of a bundle: a small file can unpack to any size."""

    checkpoint_seconds: int = 300
    """How often work in progress is pushed while the command runs; a lost node loses no more.
    0 disables it."""

    hand_over_seconds: int = 60
    """How long ``work`` may take to hand over its work after a stop request. It ends the command
    within 20 s and then makes the bundle. Half of the pod's grace period."""

    git_timeout_seconds: int = 1800
    """How long one git command may take: enough for a large clone over a slow link."""

    @property
    def state_dir(self) -> Path:
        """``~/.guildnet/state``: the command's artifacts in ``work``, copies in ``supervisor``."""
        return self.home / ".guildnet" / "state"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read settings from ``GUILDNET_*``. ValueError names a variable that is not a number."""
    defaults = Settings()

    def path(name: str) -> Path:
        return Path(environ.get(f"GUILDNET_{name.upper()}") or getattr(defaults, name))

    def number(name: str) -> int:
        text = environ.get(f"GUILDNET_{name.upper()}") or str(getattr(defaults, name))
        if not text.isascii() or not text.isdigit():
            raise ValueError(f"GUILDNET_{name.upper()}: {text!r} is not a whole number")
        return int(text)

    def text(name: str) -> str:
        return environ.get(f"GUILDNET_{name.upper()}") or str(getattr(defaults, name))

    return Settings(
        exchange_in=path("exchange_in"),
        exchange_out=path("exchange_out"),
        workspace=path("workspace"),
        agent_dir=path("agent_dir"),
        git_dir=path("git_dir"),
        model_dir=path("model_dir"),
        config_maps_dir=path("config_maps_dir"),
        mesh_dir=path("mesh_dir"),
        home=Path(environ.get("HOME") or defaults.home),
        listen=text("listen"),
        port=number("port"),
        gateway_port=number("gateway_port"),
        usage_seconds=number("usage_seconds"),
        editor=environ.get("GUILDNET_EDITOR", "1") not in ("0", "false", ""),
        editor_port=number("editor_port"),
        editor_program=text("editor_program"),
        editor_suffix=text("editor_suffix"),
        max_bundle_bytes=number("max_bundle_bytes"),
        max_unpacked_bytes=number("max_unpacked_bytes"),
        checkpoint_seconds=number("checkpoint_seconds"),
        hand_over_seconds=number("hand_over_seconds"),
        git_timeout_seconds=number("git_timeout_seconds"),
    )
