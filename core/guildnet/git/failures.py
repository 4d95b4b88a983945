"""Classifies failures of git by the fixed phrases in its error output. Pure.

The messages of git, curl and ssh (all in the C locale) contain names of branches and hosts, URLs,
paths, object ids and text of the server, and each of these can contain any phrase: a branch can be
called `permission-denied`, a host `timeout.example`, and one commit id in fifty contains `403`. So
a phrase counts only in its own position: at the start of a line, or right after a quoted name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto


class Cause(Enum):
    """Why a git command failed. If several apply, the first in this order counts."""

    DISK_FULL = auto()
    SERVER_FAULT = auto()
    """The server answered that it cannot serve the request now."""
    OWNERSHIP = auto()
    HASH_ALGORITHM = auto()
    BAD_OBJECTS = auto()
    """The remote sent, or contains, objects that git rejects."""
    DAMAGED = auto()
    """The local repository lacks objects or cannot be read."""
    REF_MISSING = auto()
    HOST_KEY = auto()
    KEY_UNREADABLE = auto()
    KEY_REFUSED = auto()
    CERTIFICATE = auto()
    PROXY_REFUSED = auto()
    REDIRECTED = auto()
    CREDENTIAL = auto()
    """401 or 403: the credential is missing, wrong, or lacks a permission."""
    NOT_FOUND = auto()
    TOO_LARGE = auto()
    MOVED = auto()
    """A push expected another commit on the branch."""
    PUSH_REFUSED = auto()
    UNKNOWN_HOST = auto()
    NO_ANSWER = auto()
    UNKNOWN = auto()

    @property
    def passes(self) -> bool:
        """Whether the same command may succeed later without any change."""
        return self in (Cause.SERVER_FAULT, Cause.UNKNOWN_HOST, Cause.NO_ANSWER)


def cause_of(said: str) -> Cause:
    """The cause of a failure from git's error output, and the porcelain output of a push."""
    return min(_causes(said), key=lambda cause: cause.value, default=Cause.UNKNOWN)


def missing_ref(said: str) -> str | None:
    """The ref or commit that the remote does not have, from its answer."""
    found = (_MISSING_REF.match(_without_prefix(line)) for line in said.splitlines())
    return next((match["name"] for match in found if match), None)


def refused_ref(said: str) -> str | None:
    """git's summary of the first ref that a push did not move: `[rejected] (fetch first)`."""
    for line in said.splitlines():
        if match := _REFUSED.match(line):
            return f"[{_kind(match)}] ({match['why']})"
    return None


def servers_words(said: str) -> str:
    """The server's own messages in one line; empty without any."""
    lines = (line.strip() for line in said.splitlines())
    texts = (line.removeprefix("remote:").strip() for line in lines if line.startswith("remote:"))
    return "; ".join(text for text in texts if text)


def _causes(said: str) -> Iterator[Cause]:
    for line in said.splitlines():
        if refused := _REFUSED.match(line):
            yield _cause_of_refusal(_kind(refused), refused["why"])
            continue
        text = line.strip()
        if text.startswith("remote:"):
            yield from _first(_SERVER, text.removeprefix("remote:").strip())
        elif access := _UNABLE_TO_ACCESS.match(text):
            yield from _first(_HTTP, access["why"])
        elif rpc := _RPC_FAILED.match(text):
            found = list(_first(_HTTP, rpc["why"]))
            yield found[0] if found else Cause.NO_ANSWER
        elif text.startswith(_PREFIXES):
            yield from _first(_GIT, _without_prefix(text))
        else:
            yield from _first(_SSH, text)


def _first(table: _Table, text: str) -> Iterator[Cause]:
    found = next((cause for pattern, cause in table if pattern.match(text)), None)
    if found is not None:
        yield found


def _kind(refused: re.Match[str]) -> str:
    return refused["kind"] or refused["porcelain"]


def _cause_of_refusal(kind: str, why: str) -> Cause:
    if next(_first(_SERVER, why), None) is Cause.SERVER_FAULT:
        return Cause.SERVER_FAULT
    if kind == "remote failure":
        return Cause.NO_ANSWER
    moved = kind == "rejected" or _MOVED.match(why) is not None
    return Cause.MOVED if moved else Cause.PUSH_REFUSED


def _without_prefix(line: str) -> str:
    text = line.strip()
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


_Table = tuple[tuple[re.Pattern[str], Cause], ...]
_PREFIXES = ("fatal: ", "error: ")


def _table(*rows: tuple[str, Cause]) -> _Table:
    return tuple((re.compile(pattern, re.IGNORECASE), cause) for pattern, cause in rows)


# A ref name contains neither spaces nor tabs; the reason follows it.
_REFUSED = re.compile(
    r"(?: ?! \[(?P<kind>rejected|remote rejected|remote failure)\]\s+\S+ (?:-> \S+ )?"
    r"|!\t[^\t]*\t\[(?P<porcelain>rejected|remote rejected|remote failure)\] )"
    r"\((?P<why>.*)\)\s*$"
)
_MOVED = re.compile(
    r"non-fast-forward|fetch first|stale info|incorrect old value|reference already exists"
    r"|cannot lock ref|failed to update ref|failed to lock",
    re.IGNORECASE,
)
_MISSING_REF = re.compile(
    r"(?:couldn't find remote ref|remote error: upload-pack: not our ref"
    r"|Server does not allow request for unadvertised object) (?P<name>\S+)$"
)
# Greedy: the URL can contain a quotation mark and a colon.
_UNABLE_TO_ACCESS = re.compile(r"fatal: unable to access '.*': (?P<why>.*)$")
_RPC_FAILED = re.compile(r"(?:fatal|error): RPC failed; (?:HTTP \d+ )?(?:curl \d+ )?(?P<why>.*)$")

_PASSING_STATUS = r"(408|425|429|5\d\d)\b"
_HTTP = _table(
    (rf"The requested URL returned error: {_PASSING_STATUS}", Cause.SERVER_FAULT),
    (r"The requested URL returned error: 40[13]\b", Cause.CREDENTIAL),
    (r"The requested URL returned error: (404|410)\b", Cause.NOT_FOUND),
    (r"The requested URL returned error: 407\b", Cause.PROXY_REFUSED),
    (r"The requested URL returned error: 413\b", Cause.TOO_LARGE),
    (r"The requested URL returned error: 3\d\d\b|Maximum \(\d+\) redirects", Cause.REDIRECTED),
    (rf"Received HTTP code {_PASSING_STATUS} from proxy", Cause.NO_ANSWER),
    (rf"CONNECT tunnel failed, response {_PASSING_STATUS}", Cause.NO_ANSWER),
    (r"Received HTTP code \d+ from proxy|CONNECT tunnel failed", Cause.PROXY_REFUSED),
    (r"Could(n't| not) resolve (host|proxy)|Resolving timed out", Cause.UNKNOWN_HOST),
    (
        r"SSL certificate problem|server certificate verification failed"
        r"|SSL: (no alternative certificate|certificate subject|unable to obtain)"
        r"|SSL peer certificate|error setting certificate|Problem with the SSL CA cert",
        Cause.CERTIFICATE,
    ),
    (
        r"Failed (to )?connect to |Could(n't| not) connect to server|connect to \S+ port"
        r"|Connection (timed out|refused|reset|died)|Operation (timed out|too slow)"
        r"|Empty reply from server|(Recv|Send) failure|Failure when receiving|Failed (receiv|send)"
        r"|transfer closed|Proxy CONNECT aborted|(SSL|TLS) connect(ion)? (error|timeout)"
        r"|gnutls_handshake\(\) failed|GnuTLS, handshake failed|GnuTLS recv error"
        r"|OpenSSL SSL_(read|write)|OpenSSL SSL_connect: (SSL_ERROR_|Connection)"
        r"|Unknown SSL protocol error|HTTP/2 stream|(Error in the|Stream error in the) HTTP/?2"
        r"|Network is unreachable|No route to host|Could not connect",
        Cause.NO_ANSWER,
    ),
)
_NO_SPACE = r".*: No space left on device$"
_GIT = _table(
    (_NO_SPACE, Cause.DISK_FULL),
    (r"detected dubious ownership in repository at '", Cause.OWNERSHIP),
    (
        r"mismatched algorithms: client|the receiving end does not support this repository's hash",
        Cause.HASH_ALGORITHM,
    ),
    (
        r"fsck error in pack(ed)? object|object [0-9a-f]{6,}: [a-zA-Z0-9]+: "
        r"|pack has bad object at offset|remote did not send all necessary objects",
        Cause.BAD_OBJECTS,
    ),
    (
        r"loose object [0-9a-f]+ \(stored in .*\) is corrupt|object file .* is empty$"
        r"|object [0-9a-f]+ is corrupt|packed object [0-9a-f]+ \(stored in .*\) is corrupt"
        r"|packfile .* (cannot be accessed|does not match index|is not a GIT packfile)"
        r"|(bad object|bad tree object|missing blob object|unable to read sha1 file of|"
        r"failed to read object|unable to read|could not read|unable to parse object:?)"
        r" [0-9a-f]{40}\b|failed to traverse parents of commit [0-9a-f]{40}"
        r"|revision walk setup failed|not a git repository: '|bad config line \d+ in file"
        r"|unable to resolve reference|(index file|multi-pack-index|commit-graph) .* is too small"
        r"|unable to parse commit [0-9a-f]{40}|inflate: data stream error",
        Cause.DAMAGED,
    ),
    (_MISSING_REF.pattern, Cause.REF_MISSING),
    (r"Authentication failed( for '|$)|could not read (Username|Password) for '", Cause.CREDENTIAL),
    (r"unable to update url base from redirection", Cause.REDIRECTED),
    (
        r"repository '.*' (not found|does not exist)|'.*' does not appear to be a git repository"
        r"|.*/info/refs not valid: is this a git repository\?$|not a git repository"
        r"|remote error: (access denied or )?repository not (exported|found)",
        Cause.NOT_FOUND,
    ),
    (
        r"remote error: (Internal Server Error|GitLab is not responding|.*temporarily unavailable)",
        Cause.SERVER_FAULT,
    ),
    (
        r"the remote end hung up|early EOF|.*unexpected disconnect|unable to connect to \S+:"
        r"|(read|write) error: (Connection|Broken pipe)|protocol error: |expected flush after"
        r"|remote ref update failed|could not read from remote repository",
        Cause.NO_ANSWER,
    ),
)
# Whole sentences of forges and of the remote's git; a name never contains a space.
_SERVER = _table(
    (
        r"(GitLab: |Gitea: |Forgejo: )?("
        r"Internal API (unreachable|error)|API is not accessible|Internal (Server )?Error\b"
        r"|Internal Server Connection Error|50[0234]\b|The git server, Gitaly, is not available"
        r"|fatal error in commit_refs|.*\bplease (try again|retry) later)",
        Cause.SERVER_FAULT,
    ),
    (r"aborting due to possible repository corruption on the remote side", Cause.BAD_OBJECTS),
    (r"fatal: .*: No space left on device$", Cause.SERVER_FAULT),
)
_SSH = _table(
    (
        r"Host key verification failed\.|No \S+ host key is known for "
        r"|Unable to negotiate with .*no matching host key type found",
        Cause.HOST_KEY,
    ),
    (
        r"Load key \".*\": |Permissions 0\d+ for '.*' are too open|Identity file .* not accessible"
        r"|invalid private key file",
        Cause.KEY_UNREADABLE,
    ),
    (r"(\S+: )?Permission denied \([a-z,-]+\)\.?$|Too many authentication fail", Cause.KEY_REFUSED),
    (r"ERROR: (Repository not found|The project you were looking for)", Cause.NOT_FOUND),
    (r"ERROR: (Permission to \S+ denied|The key you are authenticating with)", Cause.CREDENTIAL),
    (r"ssh: Could not resolve hostname ", Cause.UNKNOWN_HOST),
    (
        r"ssh: connect to host |(kex|ssh)_exchange_identification: |banner exchange: "
        r"|Connection (closed|reset|timed out)|Connection to \S+ |Timeout, server "
        r"|client_loop: |Received disconnect from |ssh_dispatch_run_fatal: |Write failed: ",
        Cause.NO_ANSWER,
    ),
)
