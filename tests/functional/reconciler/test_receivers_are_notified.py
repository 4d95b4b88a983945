"""Notifications reach real receivers over TLS: signed, once, and without a secret in the record."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.reconciler.receiver import HOST, Receiver, certificate, receiving

from guildnet.http_exchange import trust
from guildnet_reconciler.main import run
from guildnet_reconciler.settings import Settings

if TYPE_CHECKING:
    from tests.functional.reconciler.conftest import Remote

ORG = f"""\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: acme}}
spec:
  cluster: {{kubeconfig: acme, namespace: agents}}
  notify:
  - {{name: ops, type: webhook, url: "https://{HOST}/in", secret: ops-key}}
"""
KEY = "a-key-of-many-characters"


@pytest.fixture
async def receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> AsyncIterator[Receiver]:
    pem = certificate(tmp_path)
    async with receiving(pem) as found:
        monkeypatch.setenv("HTTPS_PROXY", found.proxy)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        trust.cache_clear()
        store(settings, "ops-key", KEY)
        yield found
    trust.cache_clear()


def store(settings: Settings, name: str, secret: str) -> None:
    folder = settings.state_dir / "notify" / "acme"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(secret)


def org_record(remote: Remote) -> dict[str, Any]:
    found: dict[str, Any] = remote.status("orgs/acme/org.json")
    return found


async def test_a_signed_message_is_sent_once_and_not_again_after_a_restart(
    remote: Remote, settings: Settings, receiver: Receiver
) -> None:
    remote.commit({"orgs/acme.yaml": ORG})
    assert await run(replace(settings, once=True)) == 1
    [got] = receiver.got
    signature = hmac.new(KEY.encode(), got.body, hashlib.sha256).hexdigest()
    assert got.headers["x-guildnet-signature-256"] == f"sha256={signature}"
    event = json.loads(got.body)
    assert (event["event"], event["org"]) == ("ClusterUnreachable", "acme")
    assert got.headers["idempotency-key"] == event["id"]
    assert "notices" not in org_record(remote)
    tip = remote.git("rev-parse", "status", at=remote.path)
    assert await run(replace(settings, once=True)) == 1
    assert len(receiver.got) == 1
    assert remote.git("rev-parse", "status", at=remote.path) == tip  # I4


async def test_what_was_refused_is_recorded_and_sent_after_a_restart(
    remote: Remote, settings: Settings, receiver: Receiver
) -> None:
    remote.commit({"orgs/acme.yaml": ORG})
    receiver.answer = "503 Service Unavailable"
    assert await run(replace(settings, once=True)) == 1
    reported = org_record(remote)
    [fault] = [f for f in reported["faults"] if f["reason"] == "NotNotified"]
    assert fault["message"] == "the receiver 'ops' of spec.notify: answered 503"
    [notice] = reported["notices"]
    receiver.answer = "200 OK"
    assert await run(replace(settings, once=True)) == 1
    first, second = receiver.got
    assert first.body == second.body
    assert second.headers["idempotency-key"] == notice["id"]
    assert "notices" not in org_record(remote)


async def test_a_redirect_is_refused(
    remote: Remote, settings: Settings, receiver: Receiver
) -> None:
    remote.commit({"orgs/acme.yaml": ORG})
    receiver.answer, receiver.extra = "307 Temporary Redirect", f"Location: https://{HOST}/b\r\n"
    assert await run(replace(settings, once=True)) == 1
    assert [got.path for got in receiver.got] == ["/in"]
    assert "redirects are not followed" in json.dumps(org_record(remote)["faults"])


async def test_a_missing_secret_is_named_with_its_cure(
    remote: Remote, settings: Settings, receiver: Receiver
) -> None:
    remote.commit({"orgs/acme.yaml": ORG.replace("ops-key", "other")})
    assert await run(replace(settings, once=True)) == 1
    assert "guildnet notify secret acme other" in json.dumps(org_record(remote)["faults"])
    assert not receiver.got


@pytest.mark.parametrize("url", ["https://127.0.0.1/secret-path", "https://127.1/secret-path"])
async def test_a_secret_url_that_leads_to_this_machine_is_refused_and_never_shown(
    remote: Remote, settings: Settings, receiver: Receiver, url: str
) -> None:
    store(settings, "chat", url)
    slack = f'{{name: ops, type: webhook, url: "https://{HOST}/in", secret: ops-key}}'
    remote.commit({"orgs/acme.yaml": ORG.replace(slack, "{name: chat, type: slack, secret: chat}")})
    assert await run(replace(settings, once=True)) == 1
    written = remote.git("show", "status:orgs/acme/org.json", at=remote.path)
    assert "NotNotified" in written
    assert "secret-path" not in written
    assert not receiver.got
