"""Sets the commit status at the forge: whether GuildNet has applied all of a commit."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.forges import CommitState, CommitStatus, Forge, detect
from guildnet.git import CredentialProvider, stored_credentials
from guildnet.secret_files import read_secret
from guildnet_reconciler.settings import Settings

log = logging.getLogger(__name__)

CONTEXT = "guildnet/sync"


class CommitMarker:
    """Sets one commit status for each tip, where a token is given and the remote is a forge."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._forge: Forge | None = None
        self._token: str | None = None
        self._provider: CredentialProvider | None = None

    async def mark(self, sha: str, is_clean: bool) -> None:
        """Set the status of `sha`, which all orgs have processed. Raises ForgeError."""
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
        if file is None:
            return None
        token = await asyncio.to_thread(
            self._current_token, file
        )  # each time: it may have been replaced
        if not token:
            raise ConfigurationError(
                "the forge token is empty",
                place=str(file),
                cure="give --forge-token-file a readable file with a token",
            )
        if token != self._token:
            self._forge = await detect(self._settings.repo, token=token)
            self._token = token
        return self._forge

    def _current_token(self, file: Path) -> str | None:
        """The token as it is now; a GitHub App's may have to be minted."""
        if not file.is_dir():
            return read_secret(file)
        if self._provider is None:
            self._provider = stored_credentials(file, self._settings.repo)
        return self._provider.current().password if self._provider else None
