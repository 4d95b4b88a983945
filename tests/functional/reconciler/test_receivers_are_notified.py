"""Notifications reach real receivers over TLS: signed, once, and without a secret in the record."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.functional.reconciler.receiver import HOST, Receiver, certificate, receiving

from guildnet import labels
from guildnet.git import BranchWriter, Mirror
from guildnet.http_exchange import trust
from guildnet.loading import load_org
from guildnet.notify.delivery import Courier
from guildnet.notify.notices import pending_in
from guildnet.outcome import Done
from guildnet.record import TaskRecord
from guildnet.resources import Source
from guildnet_reconciler.faults import Firewall
from guildnet_reconciler.main import run
from guildnet_reconciler.org.notifier import Notifier
from guildnet_reconciler.org.recorder import Recorder
from guildnet_reconciler.records.branch import StatusWriter
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
TWO = ORG + f"""  - {{name: slow, type: webhook, url: "https://{HOST}/slow", secret: ops-key}}\n"""


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


async def test_a_killed_reconciler_sends_it_again_under_the_same_id(
    remote: Remote, settings: Settings, receiver: Receiver
) -> None:
    remote.commit({"orgs/acme.yaml": ORG})
    receiver.hangs_at = "/in"
    command = [sys.executable, "-m", "guildnet_cli.main", "reconciler", "--repo", settings.repo]
    surroundings = {**os.environ, "GUILDNET_STATE_DIR": str(settings.state_dir)}
    killed = await asyncio.create_subprocess_exec(
        *command, "--listen", "127.0.0.1:0", env=surroundings, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        [first] = await receiver.wait_for(1)
    finally:
        killed.kill()
        await killed.wait()
    receiver.hangs_at = ""
    assert await run(replace(settings, once=True)) == 1
    [_, second] = receiver.got
    assert second.body == first.body
    assert second.headers["idempotency-key"] == first.headers["idempotency-key"]


async def test_a_failed_run_is_sent_while_another_receiver_hangs(
    remote: Remote, settings: Settings, receiver: Receiver
) -> None:
    receiver.hangs_at = "/slow"
    failed = TaskRecord("acme", "fix", 2, "sha256:x", result="TaskFailed", message="exit 1")
    async with notifying(settings, TWO) as (notifier, status):
        notifier.task_changed(replace(failed, result=None), failed)
        notifier.task_changed(failed, failed)
        await receiver.wait_for(2)
        await until(lambda: waiting_for(status) == {"slow"})
        assert notifier.is_first_try
        assert await status.flush()
    [sent] = [json.loads(got.body) for got in receiver.got if got.path == "/in"]
    assert (sent["event"], sent["task"], sent["run"]) == ("Failed", "fix", 2)
    [notice] = org_record(remote)["notices"]
    assert notice["to"] == ["slow"]

    receiver.hangs_at = ""
    async with notifying(settings, TWO) as (notifier, status):
        notifier.wake()
        await receiver.wait_for(3)
        await until(partial(is_delivered, status))
    assert [got.path for got in receiver.got[2:]] == ["/slow"]


async def test_the_failure_that_an_agent_task_reports_is_sent_once(
    remote: Remote, settings: Settings, receiver: Receiver
) -> None:
    """The cluster reports it again to each process; the record knows it."""
    for _ in range(2):
        async with notifying(settings, ORG) as (notifier, status):
            status.lease_acquired("acme", LeaseState())
            recorder = Recorder("acme", status, notifier.task_changed)
            recorder.record_status(agent_task("False", "TaskFailed"))
            recorder.record_status(agent_task("False", "TaskFailed"))
            await receiver.wait_for(1)
            await until(partial(is_delivered, status))
            assert await status.flush()
    [sent] = [json.loads(got.body) for got in receiver.got]
    assert (sent["task"], sent["run"], sent["message"]) == ("fix", 1, "TaskFailed: exit 1")


class LeaseState:
    """A Lease that is held."""

    held = True


def agent_task(succeeded: str, reason: str) -> dict[str, Any]:
    """The AgentTask `fix` at the end of its first run."""
    end = {"reason": reason, "message": "exit 1"}
    conditions = [
        {"type": "Succeeded", "status": succeeded, **end},
        {"type": "Finished", "status": "True", **end},
    ]
    annotations = {labels.RUN_DIGEST: "sha256:1", labels.SOURCE_BLOB: "b1"}
    return {
        "metadata": {"name": "fix", "uid": "u1", "annotations": annotations},
        "spec": {"run": 1},
        "status": {"run": 1, "attempt": 1, "conditions": conditions},
    }


def waiting_for(status: StatusWriter) -> set[str]:
    """The receivers that some notice has not reached."""
    return {name for notice in pending_in(status.of("acme").org) for name in notice.to}


def is_delivered(status: StatusWriter) -> bool:
    return not waiting_for(status)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def notifying(settings: Settings, text: str) -> AsyncIterator[tuple[Notifier, StatusWriter]]:
    """The notifier of one process, with the status branch that it opened."""
    mirror = Mirror.open(settings.repo, settings.mirror_path())
    status = StatusWriter(mirror, BranchWriter(mirror, "status"), timedelta(milliseconds=20))
    assert await status.open(init=False, known_elsewhere=False) == Done()
    notifier = Notifier(
        "acme",
        org=lambda: load_org(text.encode(), Source("orgs/acme.yaml")),
        status=status,
        firewall=Firewall("acme", lambda: None),
        courier=Courier("acme", settings.state_dir),
        may_send=lambda: True,
        on_fault=lambda: None,
    )
    try:
        async with asyncio.timeout(20):
            yield notifier, status
    finally:
        await notifier.close()
        mirror.close()


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
