"""The SSH key that signs commits of a service: usable by git, without a person to ask."""

from __future__ import annotations

import subprocess
from pathlib import Path

from guildnet.errors import ConfigurationError
from guildnet.secret_files import key_file
from guildnet.state_folder import private_folder

_TIMEOUT_SECONDS = 20


def usable_signing_key(path: Path, folder: Path) -> Path:
    """The private key file that git signs with: `path`, or a copy in `folder` where ssh-keygen
    refuses its permissions, as those of a mounted Secret.

    Raises ConfigurationError for a missing file, for one that is not a private key, and for a key
    with a passphrase.
    """
    cure = 'Make one with: ssh-keygen -t ed25519 -N "" -C guildnet -f FILE'
    if not path.is_file():
        raise ConfigurationError("no such file", place=str(path), cure=cure)
    try:
        private_folder(folder)
        key = key_file(path, folder / "signing-key")
        command = ["ssh-keygen", "-y", "-P", "", "-f", str(key)]
        subprocess.run(
            command,
            check=True,
            timeout=_TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except subprocess.SubprocessError as error:
        raise ConfigurationError(
            "not an SSH private key, or one with a passphrase", place=str(path), cure=cure
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot be used: {error}", place=str(path), cure=cure) from error
    return key
