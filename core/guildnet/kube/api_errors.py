"""What the API server's refusals, and its silence, mean: the Kube errors of the error tree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from guildnet.errors import (
    KubeConflict,
    KubeError,
    KubeForbidden,
    KubeGone,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)

MAX_MESSAGE_CHARS = 2000
OVERLOADED = "ReconcilerOverloaded"
"""The reason of a failure that is our own lateness, and no outage of a cluster."""

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
        return None
    is_status = isinstance(value, dict) and value.get("kind") == "Status"
    return value if is_status else None


def error_of(status: int, headers: Mapping[str, str], body: bytes, place: str) -> KubeError:
    """The error that an answer with this HTTP status stands for."""
    told = status_object(body) or {}
    message = str(told.get("message") or "") or body[:500].decode("utf-8", "replace").strip()
    return api_error(
        status, message, str(told.get("reason") or ""), place, _retry_after(told, headers)
    )


def api_error(
    status: int, message: str, reason: str, place: str, retry_after: float | None = None
) -> KubeError:
    """The error of a status code and the API's own words."""
    return _class_of(status, message)(
        (message or f"HTTP {status}")[:MAX_MESSAGE_CHARS],
        place=place,
        cure=_cure(status, message),
        status=status,
        reason=reason,
        retry_after=retry_after,
    )


def _class_of(status: int, message: str) -> type[KubeError]:
    if status >= 500 and message.startswith(_BAD_PATCH):
        return KubeInvalid
    if status >= 500 or status == 0:
        return KubeUnavailable
    return _BY_STATUS.get(status, KubeError)


def no_answer(error: BaseException, place: str, timeout_seconds: float | None = None) -> KubeError:
    """The error of a request that got no answer."""
    if isinstance(error, TimeoutError):
        within = f" within {timeout_seconds:g} s" if timeout_seconds else " in time"
        message, reason = f"the API server gave no answer{within}", "Timeout"
    else:
        words = str(error) or type(error).__name__
        message, reason = f"the API server cannot be reached: {words[:500]}", "Unreachable"
    return api_error(0, message, reason, place)


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
    try:
        return float(seconds if seconds is not None else headers.get("Retry-After", "")) or None
    except (TypeError, ValueError):
        # Also a date, which is allowed and which no API server sends.
        return None
