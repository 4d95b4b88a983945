"""Masks every value that a mounted Secret has, or had earlier."""

from __future__ import annotations

from guildnet.redact import Redactor
from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.git.credentials import secret_values


class MountedRedactor(Redactor):
    """Masks current and earlier values of the mounted Secrets.

    The kubelet replaces the files of a Secret while we run, and a message may still contain an
    earlier value.
    """

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
