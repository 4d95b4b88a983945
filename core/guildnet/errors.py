"""The error tree. Adapters map the exceptions of libraries to it; no other error leaves them.

GuildNetError
├── InvalidResource          a file is invalid; holds every problem found
├── ConfigurationError       a setting, a file or the host is invalid
├── GitError
│   ├── GitUnavailable       the remote does not answer; try again
│   ├── RefNotFound          the remote answered that it has no such ref
│   └── PushRejected         the remote rejected the push
├── KubeError
│   ├── KubeUnavailable      no answer, 429 or 5xx; try again
│   ├── KubeNotFound         404
│   ├── KubeConflict         409
│   ├── KubeGone             410: list again
│   ├── KubeForbidden        401 or 403
│   └── KubeInvalid          400 or 422
├── ForgeError
│   ├── ForgeUnavailable     no answer, 429 or 5xx; try again
│   └── ForgeRefused         the forge rejected the request
├── AgentError
│   ├── AgentUnavailable     the agent API does not answer
│   └── AgentAnswerRejected  unsigned, oversized or malformed
├── MeshError
│   ├── MeshUnavailable      the mesh's control server gives no usable answer; try again
│   └── MeshRefused          it rejected the request
└── TalosError
    ├── TalosUnavailable     a machine does not answer; try again
    └── TalosRefused         talosctl or a machine rejected the request
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MAX_MESSAGE = 300


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem at one location.

    `path` is relative to the state repository's root; `line` counts from 1 and is 0
    where no line applies; `message` is cut to 300 characters.
    """

    path: str
    line: int
    message: str

    def __post_init__(self) -> None:
        # Messages quote files, and a file can hold a single word of 256 KiB.
        if len(self.message) > MAX_MESSAGE:
            object.__setattr__(self, "message", self.message[: MAX_MESSAGE - 3] + "...")

    def __str__(self) -> str:
        # A file's name can hold line breaks and control sequences of terminals.
        path = self.path if self.path.isprintable() else ascii(self.path)[1:-1]
        place = f"{path}:{self.line}" if self.line else path
        return f"{place}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class GuildNetError(Exception):
    """A failure with a known meaning.

    `place` locates it: a file and line, an object, a cluster, a URL without credentials. `cure`
    says in one sentence what a person can do about it.
    """

    def __init__(self, message: str, *, place: str | None = None, cure: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.cure = cure

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return f"{text} ({self.cure})" if self.cure else text


class InvalidResource(GuildNetError):
    """An invalid resource; `problems` holds every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class ConfigurationError(GuildNetError):
    """A setting, a file or the host is invalid."""


class GitError(GuildNetError):
    """git failed."""


class GitUnavailable(GitError):
    """The remote did not answer, or not in time. Trying again may help."""


class RefNotFound(GitError):
    """The remote answered that it has no such ref; never raised for an unreachable remote (I1)."""


class PushRejected(GitError):
    """The remote rejected the push: not a fast-forward, a protected branch, a hook."""


class KubeError(GuildNetError):
    """The API server refused or failed.

    `status` is the HTTP status (0 without an answer), `reason` the API's own reason,
    `retry_after` seconds the server asked us to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        cure: str | None = None,
        status: int = 0,
        reason: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, place=place, cure=cure)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class KubeUnavailable(KubeError):
    """No answer, too many requests, or a server error. Trying again may help."""


class KubeNotFound(KubeError):
    """The object, or its kind, does not exist."""


class KubeConflict(KubeError):
    """Somebody else changed the object, owns the field, or it exists already."""


class KubeGone(KubeError):
    """The resource version is too old: list again."""


class KubeForbidden(KubeError):
    """Not authenticated, or not allowed."""


class KubeInvalid(KubeError):
    """The API server read the object and rejects it."""


class ForgeError(GuildNetError):
    """A forge's API failed."""


class ForgeUnavailable(ForgeError):
    """No answer, rate limited, or a server error; `retry_after` in seconds where said."""

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        cure: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, place=place, cure=cure)
        self.retry_after = retry_after


class ForgeRefused(ForgeError):
    """The forge answered and will not do it; `status` is the HTTP status."""

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        cure: str | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(message, place=place, cure=cure)
        self.status = status


class AgentError(GuildNetError):
    """The agent API failed."""


class AgentUnavailable(AgentError):
    """The agent does not answer (yet)."""


class AgentAnswerRejected(AgentError):
    """An unsigned, oversized or malformed answer; it is dropped."""


class MeshError(GuildNetError):
    """The API of a mesh's control server failed."""


class MeshUnavailable(MeshError):
    """No answer, an unusable one, rate limited, or a server error. Trying again may help."""


class MeshRefused(MeshError):
    """The control server answered and will not do it; `status` is the HTTP status."""

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        cure: str | None = None,
        status: int = 0,
    ) -> None:
        super().__init__(message, place=place, cure=cure)
        self.status = status


class TalosError(GuildNetError):
    """A Talos machine, or talosctl, failed."""


class TalosUnavailable(TalosError):
    """The machine did not answer, or not in time. Trying again may help."""


class TalosRefused(TalosError):
    """talosctl or the machine answered and will not do it.

    `is_foreign` says that the other side belongs to another cluster: it is not of our authority.
    """

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        cure: str | None = None,
        is_foreign: bool = False,
    ) -> None:
        super().__init__(message, place=place, cure=cure)
        self.is_foreign = is_foreign
