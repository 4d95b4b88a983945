"""The agent API over HTTP: signed requests and answers, no replays, long polls."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import httpx

from guildnet.agent_api.signing import AUTH_HEADER, SIGNATURE_HEADER, new_nonce, request_auth

if TYPE_CHECKING:
    from tests.functional.agent.conftest import Pod


def test_each_signed_request_is_answered_once_and_no_other(pod: Pod) -> None:
    """Another process in the pod's network can read and start nothing."""
    pod.start_supervisor()
    url = f"http://127.0.0.1:{pod.port}"
    assert httpx.get(f"{url}/healthz").text == "ok"
    for method, path in (
        ("GET", "/state"),
        ("GET", "/logs"),
        ("GET", "/artifacts/last_pr.json"),
        ("POST", "/start"),
        ("POST", "/stop"),
    ):
        answer = httpx.request(method, url + path)
        assert answer.status_code == 401
        assert SIGNATURE_HEADER not in answer.headers
    assert httpx.get(f"{url}/docs").status_code == 404

    nonce = new_nonce()
    headers = {AUTH_HEADER: request_auth(pod.key, nonce, "GET", "/state?wait=0")}
    assert httpx.get(f"{url}/state?wait=1", headers=headers).status_code == 401
    assert httpx.get(f"{url}/state?wait=0", headers=headers).status_code == 200
    assert httpx.get(f"{url}/state?wait=0", headers=headers).status_code == 401

    large = httpx.post(f"{url}/start", content=b"x" * 2_000_000)
    assert large.status_code == 413


def test_one_start_runs_at_a_time(pod: Pod) -> None:
    """I7: repeating a start changes nothing; another is refused meanwhile, an older one always."""
    pod.start_halves()
    spec = pod.spec("sleep 600")
    pod.start(spec, run=2)
    pod.start(spec, run=2)
    other = {"run": 2, "attempt": 1, "start": 2, "spec": spec}
    answer = pod.ask("POST", "/start", other)
    assert answer.status_code == 409
    assert "run 2, attempt 1, start 1 is in progress" in answer.json()["message"]
    pod.ask("POST", "/stop", {"reason": "Superseded"})
    pod.wait_for_step("Stopped")
    answer = pod.ask("POST", "/start", {"run": 1, "attempt": 9, "start": 9, "spec": spec})
    assert answer.status_code == 409
    assert "older" in answer.json()["message"]
    bad: object
    for bad in ({}, {"run": 0, "attempt": 1, "start": 1, "spec": spec}, {**other, "spec": 1}, []):
        assert pod.ask("POST", "/start", bad).status_code == 400
    assert pod.ask("POST", "/stop", {"reason": "Bored"}).status_code == 400
    assert pod.ask("GET", "/state?wait=x").status_code == 400


def test_a_state_request_waits_for_a_change(pod: Pod) -> None:
    """A change is answered at once; without a change the answer is a signed 304."""
    pod.start_supervisor()
    first = pod.ask("GET", "/state")
    etag = first.headers["ETag"]
    began = time.monotonic()
    same = pod.ask("GET", "/state?wait=1", **{"If-None-Match": etag})
    assert same.status_code == 304
    assert time.monotonic() - began >= 1
    assert same.headers["ETag"] == etag

    answers: list[httpx.Response] = []
    wait = threading.Thread(
        target=lambda: answers.append(pod.ask("GET", "/state?wait=30", **{"If-None-Match": etag}))
    )
    wait.start()
    began = time.monotonic()
    pod.start(pod.spec("true"))
    wait.join()
    assert time.monotonic() - began < 25, "not after the wait, but at the change"
    assert answers[0].status_code == 200
    state = json.loads(answers[0].content)
    assert set(state) == {
        *("run", "attempt", "start", "step", "outcome", "failure", "startedAt", "finishedAt"),
        *(
            "exitCode",
            "contexts",
            "branch",
            "commit",
            "published",
            "pullRequest",
            "lastRun",
            "usage",
        ),
        *("artifacts", "rejectedArtifacts", "editor", "mesh", "logTail"),
    }
