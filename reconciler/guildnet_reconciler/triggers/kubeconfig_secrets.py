"""Kubeconfigs in Secrets: watched, and stored as the files that orgs are opened from.

Secrets are the source: a file without its Secret is removed. What a kubeconfig may hold is decided
where it is opened, as for every other file (I9).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guildnet import labels
from guildnet.errors import ConfigurationError, KubeError
from guildnet.kube import SECRETS, KubeClient, list_and_watch
from guildnet.kube.kubeconfig_data import MAX_BYTES
from guildnet.names import is_name
from guildnet.state_folder import private_folder, write_private
from guildnet_reconciler.triggers.kubeconfig_files import SUFFIX

log = logging.getLogger(__name__)

SELECTOR = f"{labels.USE}={labels.USE_KUBECONFIG}"
KEYS = ("kubeconfig", "value")
"""The key with the kubeconfig: ours, or that of Cluster API."""


class KubeconfigSecrets:
    """Keeps a folder of kubeconfigs equal to the labelled Secrets of one namespace.

    `client` makes a client whose namespace that is. `problem` says why the folder may be out of
    date.
    """

    def __init__(self, client: Callable[[], KubeClient], folder: Path) -> None:
        self.problem: str | None = "the Secrets with kubeconfigs have not been listed yet"
        self._client = client
        self._folder = folder
        self._synced = asyncio.Event()
        self._listed: set[str] = set()

    async def wait_synced(self) -> None:
        """Wait until the folder has been equal to the Secrets once."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the Secrets until cancelled. Raises ConfigurationError outside a cluster."""
        private_folder(self._folder)
        async with self._client() as client:
            events = list_and_watch(client, SECRETS, kubeconfig_in, label_selector=SELECTOR)
            async for event in events:
                match event.type:
                    case "ADDED" | "MODIFIED":
                        self._take(event.name, event.value)
                    case "DELETED":
                        self._remove(event.name)
                    case "SYNCED":
                        self._complete()
                    case "DISRUPTED":
                        self._disrupted(event.error)

    def _take(self, name: str, value: bytes | str | None) -> None:
        """`value`: the kubeconfig, or why there is none."""
        if not is_name(name):
            value = "the name of a kubeconfig has at most 50 lower-case letters, digits and dashes"
        if not isinstance(value, bytes):
            log.error("Secret %s holds no kubeconfig: %s", name, value)
            self._remove(name)
            return
        self._listed.add(name)
        path = self._path(name)
        try:
            if not path.is_file() or path.read_bytes() != value:
                write_private(path, value)
                log.info("kubeconfig %s: taken from its Secret", name)
        except OSError as error:
            raise ConfigurationError(f"cannot write: {error.strerror}", place=str(path)) from error

    def _remove(self, name: str) -> None:
        self._listed.discard(name)
        if is_name(name):
            self._path(name).unlink(missing_ok=True)

    def _complete(self) -> None:
        """Everything is listed: remove what was stored before, and has no Secret any more."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path.name.removesuffix(SUFFIX) not in self._listed:
                path.unlink(missing_ok=True)
        self.problem = None
        self._synced.set()

    def _disrupted(self, error: KubeError | None) -> None:
        problem = f"the Secrets with kubeconfigs cannot be watched: {error}"
        if self.problem != problem:
            log.warning("%s", problem)
        self.problem = problem

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"


def kubeconfig_in(secret: dict[str, Any]) -> bytes | str:
    """The kubeconfig in a Secret, or why there is none."""
    data = secret.get("data") or {}
    for key in KEYS:
        if key not in data:
            continue
        try:
            value = base64.b64decode(str(data[key]), validate=True)
        except (binascii.Error, ValueError):
            return f"the key {key} is not base64"
        return (
            value if len(value) <= MAX_BYTES else f"the key {key} has more than {MAX_BYTES} bytes"
        )
    return f"it needs the key {' or '.join(KEYS)}"
