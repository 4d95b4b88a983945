"""Maps a failed command that contacted a remote to the error tree."""

from __future__ import annotations

from collections.abc import Mapping

from guildnet.errors import GitError, GitUnavailable, PushRejected, RefNotFound
from guildnet.git.failures import Cause, cause_of, missing_ref, refused_ref, servers_words
from guildnet.git.process import CommandFailed, CommandTimedOut, first_words

CURES: Mapping[Cause, str] = {
    Cause.DISK_FULL: "free space on the disk that holds the state directory",
    Cause.OWNERSHIP: "make the user that runs this the owner of the repository",
    Cause.HASH_ALGORITHM: "use a SHA-1 repository",
    Cause.BAD_OBJECTS: (
        "run `git fsck` in the repository and remove the objects that it names from the history of"
        " this branch: they make paths or objects ambiguous"
    ),
    Cause.HOST_KEY: (
        "put the server's key into known_hosts of the folder given as --git-credentials"
    ),
    Cause.KEY_UNREADABLE: "give an OpenSSH private key without a passphrase as ssh-privatekey",
    Cause.KEY_REFUSED: (
        "give an ssh-privatekey by --git-credentials, and add its public half to the repository's"
        " deploy keys"
    ),
    Cause.CERTIFICATE: "give the server's certificate authority as ca.crt of the credential",
    Cause.PROXY_REFUSED: "check the proxy's address, user and password, and which hosts it allows",
    Cause.REDIRECTED: "use the address that the server redirects to",
    Cause.CREDENTIAL: "check the credential for this repository and its permissions there",
    Cause.NOT_FOUND: "check the address, and whether the credential may read the repository",
    Cause.TOO_LARGE: "raise the maximum request size of the server, or of a proxy before it",
    Cause.UNKNOWN_HOST: "check the host name and this machine's DNS",
}
# A retry does not help: these words precede git's message.
_DEFECTS: Mapping[Cause, str] = {
    Cause.HASH_ALGORITHM: "SHA-256 repositories are not supported",
    Cause.BAD_OBJECTS: "the remote sent objects that git refuses",
    Cause.DISK_FULL: "the disk is full",
}


def remote_error(error: CommandFailed | CommandTimedOut, place: str) -> GitError:
    """The error for a failed command that contacted the remote: GitUnavailable, unless another
    cause is certain (I1)."""
    if isinstance(error, CommandTimedOut):
        return GitUnavailable(error.message, place=place)
    cause = cause_of(error.stderr)
    words = first_words(error.stderr)
    if cause is Cause.REF_MISSING:
        return RefNotFound(f"the remote has no {missing_ref(error.stderr)}", place=place)
    if cause is Cause.DAMAGED:
        return GitError(error.message, place=error.place, cure=error.cure)
    if defect := _DEFECTS.get(cause):
        return GitError(f"{defect}: {words}", place=place, cure=CURES[cause])
    return GitUnavailable(words, place=place, cure=CURES.get(cause))


def is_confirmed(stdout: str, refspec: str) -> bool:
    """Whether the porcelain output of a push confirms that the remote has the commit."""
    lines = (line.split("\t") for line in stdout.splitlines())
    return any(line[0] in (" ", "*", "+", "=") and refspec in line[1:2] for line in lines)


def push_error(error: CommandFailed | CommandTimedOut, place: str) -> GitError:
    """The error for a failed push: PushRejected when the remote answered and rejected the ref."""
    if isinstance(error, CommandFailed):
        refused = refused_ref(error.stdout)
        cause = cause_of(f"{error.stdout}\n{error.stderr}")
        if refused is not None and cause in (Cause.MOVED, Cause.PUSH_REFUSED):
            words = f"{refused} {servers_words(error.stderr)}".strip()
            return PushRejected(words[:500], place=place)
        if refused is not None and cause.passes:
            words = f"{refused} {servers_words(error.stderr)}".strip()
            return GitUnavailable(words[:500], place=place)
    return remote_error(error, place)
