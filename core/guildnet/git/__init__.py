"""The only package that knows git: mirrors, writers of a branch, and users' checkouts.

Everything here blocks; callers on an event loop go through `asyncio.to_thread`.
"""

from __future__ import annotations

from guildnet.git.branch_writer import BranchWriter, Identity
from guildnet.git.credentials import (
    CredentialProvider,
    Credentials,
    SecretFolder,
    TokenFile,
    stored_credentials,
)
from guildnet.git.history import CommitInfo
from guildnet.git.location import git_dir_of
from guildnet.git.mirror import Mirror
from guildnet.git.signatures import (
    OpenPgpKeyring,
    SignaturePolicy,
    SshSigners,
    any_signature,
)
from guildnet.git.trees import Change, TreeEntry

__all__ = [
    "BranchWriter",
    "Change",
    "CommitInfo",
    "CredentialProvider",
    "Credentials",
    "Identity",
    "Mirror",
    "OpenPgpKeyring",
    "SecretFolder",
    "SignaturePolicy",
    "SshSigners",
    "TokenFile",
    "TreeEntry",
    "any_signature",
    "git_dir_of",
    "stored_credentials",
]
