"""What a remote is spoken to with: a token, a password or an SSH key, from files or a Secret.

Secrets never become arguments of a process nor part of a URL: HTTP ones travel as
configuration in the environment of the one git process that needs them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to authenticate to one remote; every field is optional.

    `password` is a password or a token (with a token, `username` may be anything the forge
    takes). `ssh_key`, `known_hosts` and `ca_file` are files that exist as long as this does.
    """

    username: str = "git"
    password: str | None = field(default=None, repr=False)
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    ca_file: Path | None = None

    @classmethod
    def from_folder(cls, folder: Path) -> Credentials:
        """Read a mounted Secret: files username, password | token, ssh-privatekey, known_hosts,
        ca.crt, whichever exist. Raises ConfigurationError where the folder is not readable."""
        raise NotImplementedError
