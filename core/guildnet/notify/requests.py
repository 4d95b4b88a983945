"""What is sent to each type of receiver. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from guildnet.errors import ConfigurationError
from guildnet.notify.notices import Notice
from guildnet.notify.receivers import Receiver, receiver_url_problem

SIGNATURE = "X-GuildNet-Signature-256"


@dataclass(frozen=True, slots=True)
class NotifyRequest:
    """One HTTP request; its URL and headers may hold a secret."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes


def request_for(org: str, receiver: Receiver, notice: Notice, secret: str) -> NotifyRequest:
    """The request that delivers a notice. The same notice gives the same bytes.

    Raises ConfigurationError for a secret that cannot be used.
    """
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConfigurationError(f"the secret {receiver.secret!r} is empty, or not one ASCII line")
    headers = {"Content-Type": "application/json", "Idempotency-Key": notice.id}
    match receiver.type:
        case "webhook":
            body = _encoded(_event(org, notice))
            signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            headers |= {SIGNATURE: f"sha256={signature}", "X-GuildNet-Event": notice.event}
            return NotifyRequest("POST", receiver.url, headers, body)
        case "slack":
            problem = receiver_url_problem(secret)
            if problem is not None:
                raise ConfigurationError(f"the secret {receiver.secret!r}: {problem}")
            text = text_of(org, notice)
            for char, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
                text = text.replace(char, escaped)
            return NotifyRequest("POST", secret, headers, _encoded({"text": text}))
        case "matrix":
            room, transaction = quote(receiver.room, safe=""), quote(notice.id, safe="")
            path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{transaction}"
            headers["Authorization"] = f"Bearer {secret}"
            body = _encoded({"msgtype": "m.notice", "body": text_of(org, notice)})
            return NotifyRequest("PUT", receiver.url.rstrip("/") + path, headers, body)


def text_of(org: str, notice: Notice) -> str:
    """The notice as one line for people."""
    subject = f"{org}/{notice.task}" if notice.task else org
    run = f" (run {notice.run})" if notice.task else ""
    event = f"{notice.event}, resolved" if notice.resolved else notice.event
    return " ".join(f"GuildNet {subject}{run}: {event}: {notice.message}".split())


def _event(org: str, notice: Notice) -> dict[str, Any]:
    event = {"id": notice.id, "event": notice.event, "org": org, "message": notice.message}
    about = {"task": notice.task, "run": notice.run} if notice.task else {}
    return {"version": 1, **event, **about, "resolved": notice.resolved}


def _encoded(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=True, sort_keys=True).encode()
