"""The options with which a verb or service speaks to the state repository's forge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from guildnet.git import CredentialProvider

GitCredentialsOption = Annotated[
    Path | None,
    typer.Option(
        "--git-credentials",
        metavar="DIR",
        help="A folder with username, password or token, ssh-privatekey, known_hosts, ca.crt.",
    ),
]
GitTokenOption = Annotated[
    Path | None,
    typer.Option("--git-token-file", metavar="FILE", help="A password or token, for HTTPS."),
]
GitUsernameOption = Annotated[
    str, typer.Option("--git-username", help="Whose --git-token-file it is.")
]


def credentials_folder(folder: Path | None, token_file: Path | None, username: str) -> Path | None:
    """One folder of credentials, shaped as a mounted Secret; None where nothing was given.

    A token file is linked to, never copied: it is read anew each time, and lies in one place.
    Raises ConfigurationError when what was named is not there.
    """
    from guildnet.digest import sha256_hex
    from guildnet.errors import ConfigurationError
    from guildnet.state_folder import private_folder, state_folder, write_private

    if folder is not None and token_file is not None:
        raise typer.BadParameter("give --git-credentials or --git-token-file, not both")
    if token_file is None:
        return folder
    token = token_file.expanduser().absolute()
    if not token.is_file():
        raise ConfigurationError(
            "there is no such file", place=str(token_file), cure="Write the token into it."
        )
    made = state_folder() / "credentials" / sha256_hex(f"{username}\n{token}".encode())[:16]
    try:
        private_folder(made.parent)
        private_folder(made)
        write_private(made / "username", username.encode())
        if not (made / "token").is_symlink():
            (made / "token").symlink_to(token)
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", place=str(made)) from error
    return made


def credentials(
    folder: Path | None, token_file: Path | None, username: str
) -> CredentialProvider | None:
    """The provider for what was given; None where nothing was given."""
    from guildnet.git import stored_credentials

    return stored_credentials(credentials_folder(folder, token_file, username))
