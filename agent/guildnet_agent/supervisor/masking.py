"""Masks the values of the mounted Secrets, as they are now and as they were."""

from __future__ import annotations

from guildnet.redact import Redactor
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.git.credentials import secret_values


class MountedRedactor(Redactor):
    """Masks every value that the mounted Secrets have or had: the kubelet replaces files while we
    run, and what was logged before may be repeated after."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: frozenset[str] = frozenset()
        super().__init__(())

    def __call__(self, text: str) -> str:
        found = frozenset(secret_values(self._settings))
        if not found <= self._known:
            self._known |= found
            super().__init__(self._known)
        return super().__call__(text)
