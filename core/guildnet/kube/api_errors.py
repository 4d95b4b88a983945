"""Map refusals, time-outs and connection failures to the Kube* errors of `guildnet.errors`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

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
"""The least seconds before a retry, even if the server asks for a shorter wait or for none."""
OVERLOADED = "ReconcilerOverloaded"
"""The reason of a failure caused by this process being too slow, not by the cluster."""

_TAILSCALE_CAUSE = "Tailscale-Connect-Error"
_PROXY_CURE = (
    "check that the proxy is running and reaches the cluster; where it is a tailscaled, with "
    "`tailscale status` and `tailscale ping`"
)

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
# The API server answers 500 to an apply with an unknown field. Like a 400, it must not be retried.
_BAD_PATCH = "failed to create typed patch object"
_MISSING_KIND = ("404 page not found", "could not find the requested resource")


def status_object(body: bytes) -> Mapping[str, Any] | None:
    """The Kubernetes Status object in an answer's body; None if the body is something else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None  # ValueError also covers text that is not UTF-8
    is_status = isinstance(value, dict) and value.get("kind") == "Status"
    return value if is_status else None


def error_of(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    place: str,
    redact: Callable[[str], str] = strip_urls,
) -> KubeError:
    """The error for an answer with this HTTP status. `redact` is applied to its text, because a
    server or gateway may repeat the credential that it refuses (I8)."""
    refusal = status_object(body) or {}
    message, reason = refusal.get("message"), refusal.get("reason")
    if not isinstance(message, str) or not message:
        message = body[:500].decode("utf-8", "replace").strip()
    reason = reason if isinstance(reason, str) else ""
    wait = _retry_after(refusal, headers)
    return api_error(status, redact(message[:MAX_READ_CHARS]), redact(reason[:100]), place, wait)


def api_error(
    status: int, message: str, reason: str, place: str, wait: float | None = None
) -> KubeError:
    """The error for an HTTP status code with the API server's message and reason."""
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
    *,
    proxy: str | None = None,
) -> KubeError:
    """The error for a request that got no answer; `proxy` is the one that it went through."""
    through = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, TimeoutError):
        within = f" within {timeout_seconds:g} s" if timeout_seconds else " in time"
        message, reason = f"the API server gave no answer{through}{within}", "Timeout"
    else:
        detail = redact(_detail(error)[:MAX_READ_CHARS])[:500] or type(error).__name__
        message, reason = f"the API server cannot be reached{through}: {detail}", "Unreachable"
    failure = api_error(0, message, reason, place)
    if proxy:
        failure.cure = _PROXY_CURE
    return failure


def _detail(error: BaseException) -> str:
    """A proxy that refuses to connect says why in its answer: tailscaled in a header of its own."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        cause = error.headers.get(_TAILSCALE_CAUSE) if error.headers else None
        return f"the proxy answered {error.status}: {cause or error.message}"
    return str(error)


def not_understood(error: BaseException, place: str) -> KubeError:
    """The error for an unexpected exception of the HTTP library, which could not send the request
    or read the answer."""
    message = f"the API server's answer could not be read: {type(error).__name__}"
    return api_error(0, message, BAD_ANSWER, place)


def late_ourselves(late: float, limit: float, place: str) -> KubeUnavailable:
    """The error for an answer that this process was too busy to read. It does not mean that the API
    server is slow."""
    return KubeUnavailable(
        f"no answer was read within {limit:g} s; this process itself was delayed by {late:.1f} s",
        place=place,
        cure="give the reconciler more CPU, or split the orgs into shards",
        reason=OVERLOADED,
    )


def _cure(status: int, message: str) -> str | None:
    if status == 0:
        return "check that the cluster is running and can be reached from here"
    if status == 401:
        return "the credential was rejected: renew the kubeconfig"
    if status == 403:
        return "grant the kubeconfig's user this permission (RBAC), see guildnet doctor"
    if status == 404 and any(text in message for text in _MISSING_KIND):
        return "the kind is not installed: run guildnet org install"
    return None


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """The Retry-After header of an answer in seconds; None if it is missing or invalid."""
    return _retry_after({}, headers)


def _retry_after(refusal: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    details = refusal.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds
    value = str(seconds)[:MAX_NUMBER_CHARS] if is_number else headers.get("Retry-After")
    return retry_after(value, time.time(), least=LEAST_WAIT)
