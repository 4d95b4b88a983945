"""What a failed conversation with a remote means, from what git said of it (in English: git runs
in the C locale)."""

from __future__ import annotations

import re

from guildnet.errors import GitError, GitUnavailable, PushRejected, RefNotFound
from guildnet.git.commands import CommandFailed, CommandTimedOut, first_words

_MISSING_REF = re.compile(r"couldn't find remote ref (\S+)|not our ref (\S+)")
_CAUSES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), cure)
    for pattern, cure in (
        (
            r"authentication failed|could not read (username|password)|error: 40[13]"
            r"|permission denied|access denied",
            "check the credential given for this repository, and what it may do there",
        ),
        (
            r"host key verification failed|no matching host key",
            "put the server's key into the known_hosts given for this repository",
        ),
        (r"dubious ownership", "let the repository belong to the user that runs this"),
        (
            r"not found|does not (exist|appear)|not a git repository|error: 404",
            "check the address, and whether the credential may read the repository",
        ),
        (r"certificate", "give the server's certificate authority as ca.crt of the credential"),
        (r"error: 30\d|redirect", "use the address that the server redirects to"),
        (r"could not resolve host", "check the host name and this machine's DNS"),
    )
)
_DEFECTS = (
    (
        re.compile(r"mismatched algorithms|hash algorithm", re.IGNORECASE),
        "this is a SHA-256 repository, which is not supported",
        "use a SHA-1 repository",
    ),
    (
        re.compile(r"fsck error|bad object|corrupt", re.IGNORECASE),
        "the remote sent objects that git refuses",
        "run `git fsck` in the repository and repair what it names",
    ),
    (
        re.compile(r"No space left on device", re.IGNORECASE),
        "the disk is full",
        "free space on the disk that holds the state directory",
    ),
)


def remote_error(error: CommandFailed | CommandTimedOut, place: str) -> GitError:
    """The failure of a command that spoke to the remote, as one of the tree's errors."""
    if isinstance(error, CommandTimedOut):
        return GitUnavailable(error.message, place=place)
    if missing := _MISSING_REF.search(error.stderr):
        ref = missing.group(1) or missing.group(2)
        return RefNotFound(f"the remote has no {ref}", place=place)
    for pattern, message, cure in _DEFECTS:
        if pattern.search(error.stderr):
            return GitError(f"{message}: {first_words(error.stderr)}", place=place, cure=cure)
    advice = next((cure for pattern, cure in _CAUSES if pattern.search(error.stderr)), None)
    return GitUnavailable(first_words(error.stderr), place=place, cure=advice)


def push_error(error: CommandFailed | CommandTimedOut, place: str) -> GitError:
    """The failure of a push; PushRejected when the remote answered and refused the ref."""
    if isinstance(error, CommandFailed):
        refused = [line for line in error.stdout.splitlines() if line.startswith("!")]
        if refused:
            summary = refused[0].split("\t")[-1]
            said = [line for line in error.stderr.splitlines() if line.startswith("remote:")]
            words = "; ".join(line.removeprefix("remote:").strip() for line in said).strip("; ")
            return PushRejected(f"{summary} {words}".strip()[:500], place=place)
    return remote_error(error, place)
