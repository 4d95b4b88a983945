"""What the API server's refusals, and its silence, mean: the Kube errors of the error tree."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from guildnet.backoff import retry_after
from guildnet.errors import (
    KubeConflict,
    KubeError,
    KubeForbidden,
    KubeGone,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)
from guildnet.kube.answers import BAD_ANSWER
from guildnet.redact import strip_urls
from guildnet.text import clean_text

MAX_MESSAGE_CHARS = 2000
MAX_READ_CHARS = 16 * 1024
MAX_NUMBER_CHARS = 40
LEAST_WAIT = 0.5
"""Seconds between two requests to a server that refuses: it may ask for less, or for nothing."""
OVERLOADED = "ReconcilerOverloaded"
"""The reason of a failure that is our own lag, and not an outage of a cluster."""

_BY_STATUS: dict[int, type[KubeError]] = {
    400: KubeInvalid,
    401: KubeForbidden,
    403: KubeForbidden,
    404: KubeNotFound,
    409: KubeConflict,
    410: KubeGone,
    413: KubeInvalid,
    422: KubeInvalid,
    429: KubeUnavailable,
}
# The API server answers 500 to an apply with a field that it does not know; trying again helps
# as little as with a 400.
_BAD_PATCH = "failed to create typed patch object"
_MISSING_KIND = ("404 page not found", "could not find the requested resource")


def status_object(body: bytes) -> Mapping[str, Any] | None:
    """The Kubernetes Status in an answer's body; None when it holds something else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None  # also text that is not UTF-8
    is_status = isinstance(value, dict) and value.get("kind") == "Status"
    return value if is_status else None


def error_of(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    place: str,
    redact: Callable[[str], str] = strip_urls,
) -> KubeError:
    """The error that an answer with this HTTP status stands for; its text goes through
    `redact`, since a server or gateway may repeat the credential that it refuses (I8)."""
    found = status_object(body) or {}
    message, reason = found.get("message"), found.get("reason")
    if not isinstance(message, str) or not message:
        message = body[:500].decode("utf-8", "replace").strip()
    reason = reason if isinstance(reason, str) else ""
    wait = _retry_after(found, headers)
    return api_error(status, redact(message[:MAX_READ_CHARS]), redact(reason[:100]), place, wait)


def api_error(
    status: int, message: str, reason: str, place: str, wait: float | None = None
) -> KubeError:
    """The error of a status code and the API's own words."""
    return _class_of(status, message)(
        clean_text(message or f"HTTP {status}", MAX_MESSAGE_CHARS),
        place=place,
        cure=_cure(status, message),
        status=status,
        reason=clean_text(reason, 100),
        retry_after=wait,
    )


def _class_of(status: int, message: str) -> type[KubeError]:
    if status >= 500 and message.startswith(_BAD_PATCH):
        return KubeInvalid
    if status >= 500 or status == 0:
        return KubeUnavailable
    return _BY_STATUS.get(status, KubeError)


def no_answer(
    error: BaseException,
    place: str,
    timeout_seconds: float | None = None,
    redact: Callable[[str], str] = strip_urls,
) -> KubeError:
    """The error of a request that got no answer."""
    if isinstance(error, TimeoutError):
        within = f" within {timeout_seconds:g} s" if timeout_seconds else " in time"
        message, reason = f"the API server gave no answer{within}", "Timeout"
    else:
        words = redact(str(error)[:MAX_READ_CHARS])[:500] or type(error).__name__
        message, reason = f"the API server cannot be reached: {words}", "Unreachable"
    return api_error(0, message, reason, place)


def not_understood(error: BaseException, place: str) -> KubeError:
    """The error of a request that the HTTP library could not make, or of an answer that it could
    not read, for a reason that it has no word for."""
    kind = type(error).__name__
    return api_error(0, f"no answer could be read from the API server: {kind}", BAD_ANSWER, place)


def late_ourselves(late: float, limit: float, place: str) -> KubeUnavailable:
    """The error of an answer that this process was too busy to read: it says nothing of the API
    server."""
    return KubeUnavailable(
        f"no answer was read within {limit:g} s, of which this process itself was late by "
        f"{late:.1f} s",
        place=place,
        cure="give the reconciler more CPU, or spread the orgs over shards",
        reason=OVERLOADED,
    )


def _cure(status: int, message: str) -> str | None:
    if status == 0:
        return "check that the cluster runs and can be reached from here"
    if status == 401:
        return "the credential is not accepted: renew the kubeconfig"
    if status == 403:
        return "give the kubeconfig's user this right (RBAC), see guildnet doctor"
    if status == 404 and any(words in message for words in _MISSING_KIND):
        return "the kind is not installed: guildnet org install"
    return None


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds, from an answer's headers; None where they hold no number."""
    return _retry_after({}, headers)


def _retry_after(told: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    details = told.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds
    value = str(seconds)[:MAX_NUMBER_CHARS] if is_number else headers.get("Retry-After")
    return retry_after(value, time.time(), least=LEAST_WAIT)
