"""The mark on a commit at the forge: whether GuildNet has taken it up, and all of it."""

from __future__ import annotations

import logging

from guildnet.errors import ConfigurationError
from guildnet.forges import CommitState, CommitStatus, Forge, detect
from guildnet_reconciler.settings import Settings

log = logging.getLogger(__name__)

CONTEXT = "guildnet/sync"


class CommitMarker:
    """Sets one commit status for each tip, where a token is given and the remote is a forge."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._forge: Forge | None = None
        self._looked = False

    async def mark(self, sha: str, is_clean: bool) -> None:
        """Say of `sha` that it is taken up. Raises ForgeError."""
        forge = await self._find()
        if forge is None:
            return
        description = (
            "everything is as committed"
            if is_clean
            else "something is failed, held or quarantined: see the status branch"
        )
        state: CommitState = "success" if is_clean else "failure"
        await forge.set_commit_status(CommitStatus(sha, state, CONTEXT, description))

    async def _find(self) -> Forge | None:
        file = self._settings.forge_token_file
        if self._looked or file is None:
            return self._forge
        try:
            token = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(
                f"cannot be read: {error.strerror}",
                place=str(file),
                cure="give --forge-token-file a readable file with a token",
            ) from error
        self._forge = await detect(self._settings.repo, token=token)
        self._looked = True
        return self._forge
