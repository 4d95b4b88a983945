"""The pages as a person meets them: in a real Chromium, under the real policy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from tests.e2e.conftest import console
from tests.functional.dashboard.state_repository import (
    StateRepository,
    artifact,
    task_record,
)

from guildnet.record import OrgRecord

DEADLINE = 30
ATTACK = "<script>window.attacked = true</script><img src=x onerror='window.attacked = true'>"


def complaints(browser: WebDriver) -> list[str]:
    """What the console holds: errors, and every breach of the content security policy."""
    return [
        entry["message"] for entry in console(browser) if entry["level"] in ("SEVERE", "WARNING")
    ]


def until(browser: WebDriver, holds: Callable[[WebDriver], object]) -> None:
    WebDriverWait(browser, DEADLINE, poll_frequency=0.1).until(holds)


def text_of(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def is_live(browser: WebDriver) -> bool:
    return bool(browser.find_elements(By.CSS_SELECTOR, "[data-live-state=on]"))


@pytest.fixture
def told(repository: StateRepository) -> StateRepository:
    """A repository with two orgs, a running task and a dead cluster."""
    repository.orgs("acme", "globex", acme=("fix", "queue"))
    repository.report(
        OrgRecord("acme", cluster={"reachable": True}),
        OrgRecord("globex", cluster={"reachable": False, "message": "no answer within 5 s"}),
        task_record("acme", "fix"),
        files=artifact("acme", "fix", "log_tail.txt", "42 passed"),
    )
    return repository


def test_pages_load_under_the_policy(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    """No page breaks its own policy or logs an error, and each becomes live."""
    for path, wanted in (
        ("/", "globex"),
        ("/orgs/acme", "queue"),
        ("/orgs/acme?state=running&sort=name", "fix"),
        ("/tasks/acme/fix", "42 passed"),
        ("/activity", "acme/fix"),
        ("/problems", "no answer within 5 s"),
    ):
        browser.get(address + path)
        until(browser, is_live)
        assert wanted in text_of(browser), path
        assert complaints(browser) == [], path
    times = browser.find_elements(By.CSS_SELECTOR, "footer time")
    assert (times[0].get_attribute("title") or "").endswith("UTC")
    assert "UTC" not in times[0].text


def test_a_new_commit_appears_without_reload(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    """I10: within 10 s a failure and its cause stand on the page that somebody has open."""
    browser.get(address + "/tasks/acme/fix")
    until(browser, is_live)
    browser.execute_script("window.sameDocument = true")
    told.report(task_record("acme", "fix", result="RetriesExhausted", message="exit code 3"))
    WebDriverWait(browser, 10, poll_frequency=0.1).until(lambda b: "exit code 3" in text_of(b))
    assert browser.execute_script("return window.sameDocument") is True
    assert complaints(browser) == []


def test_what_is_typed_survives_an_update(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    browser.get(address + "/orgs/acme")
    until(browser, is_live)
    field = browser.find_element(By.ID, "q")
    field.send_keys("half a wor")
    told.report(task_record("acme", "queue", result="TaskSucceeded"))
    until(browser, lambda b: "TaskSucceeded" in text_of(b))
    again = browser.find_element(By.ID, "q")
    assert again.get_attribute("value") == "half a wor"
    assert browser.switch_to.active_element == again


def test_what_an_agent_wrote_does_not_run(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    """I9: scripts in titles, messages, logs and artifacts stay text."""
    pull = {"url": "javascript:window.attacked=true", "repository": "a/b", "number": 1}
    told.report(
        task_record(
            "acme",
            "fix",
            message=ATTACK,
            result="TaskFailed",
            pull_request={**pull, "title": ATTACK},
        ),
        files={
            **artifact("acme", "fix", "log_tail.txt", ATTACK),
            **artifact("acme", "fix", "x.json", json.dumps({"note": ATTACK})),
        },
    )
    for path in ("/", "/orgs/acme", "/tasks/acme/fix", "/activity"):
        browser.get(address + path)
        until(browser, is_live)
        # A swap of the page's parts must be as harmless as its first load.
        browser.execute_script("window.done = false; refresh().then(() => { window.done = true })")
        until(browser, lambda b: b.execute_script("return window.done"))
        assert browser.execute_script("return window.attacked === undefined"), path
    assert ATTACK in browser_text(browser, address)
    links = browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript:']")
    assert links == []
    assert complaints(browser) == []


def browser_text(browser: WebDriver, address: str) -> str:
    browser.get(address + "/tasks/acme/fix")
    return text_of(browser)


def test_the_past_can_be_looked_at_and_left(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    before = told.tip("status")
    told.report(task_record("acme", "fix", result="TaskSucceeded"))
    browser.get(f"{address}/tasks/acme/fix?at={before}")
    assert "as of status commit" in text_of(browser)
    assert "Running" in browser.find_element(By.TAG_NAME, "h1").text
    browser.find_element(By.LINK_TEXT, "Back to now").click()
    until(browser, lambda b: "Succeeded" in b.find_element(By.TAG_NAME, "h1").text)
    assert complaints(browser) == []


def test_pages_read_without_scripts(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    """Everything but the liveliness is in the HTML: times are absolute then."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address + "/tasks/acme/fix")
        shown = text_of(browser)
        assert "42 passed" in shown
        assert "2026-11-22 10:01:00 UTC" in shown
        assert "Reload to update" in shown
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}


def test_nothing_is_cut_off_on_a_phone(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    """Rows become cards; no page or table has to be moved sideways, whatever a task is called."""
    name = "a-task-with-the-longest-name-that-is-allowed-50-ch"
    pull = {"url": "https://git.example/1", "repository": "o/" + "r" * 60, "number": 1}
    told.orgs("acme", acme=(name,))
    told.report(
        task_record("acme", name, result="TaskFailed", message="x" * 300, pull_request=pull),
        OrgRecord("acme", cluster={"reachable": True}, faults=({"reason": "R", "message": "y"},)),
        files=artifact("acme", name, "log_tail.txt", "a line of the log\n" * 200),
    )
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        for path in ("/", "/orgs/acme", f"/tasks/acme/{name}", "/activity", "/problems"):
            browser.get(address + path)
            until(browser, is_live)
            wide = browser.execute_script(
                "return [document.documentElement, ...document.querySelectorAll('.scroll')]"
                ".filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.className)"
            )
            assert wide == [], path
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_end_of_the_log_is_seen_first(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    lines = "\n".join(f"line {number}" for number in range(200))
    told.report(task_record("acme", "fix"), files=artifact("acme", "fix", "log_tail.txt", lines))
    browser.get(address + "/tasks/acme/fix")
    until(browser, lambda b: "line 199" in text_of(b))
    below = browser.execute_script(
        "const log = document.querySelector('.log');"
        "return log.firstElementChild.getBoundingClientRect().bottom"
        " - log.getBoundingClientRect().bottom"
    )
    assert abs(below) < 5


def test_only_a_page_that_is_seen_listens(
    told: StateRepository, address: str, browser: WebDriver
) -> None:
    """Many tabs must not take all of the few connections that a browser opens to one host."""
    browser.get(address + "/tasks/acme/fix")
    until(browser, is_live)
    assert seen(browser, False) == EVENT_SOURCE_CLOSED
    told.report(task_record("acme", "fix", result="RetriesExhausted", message="exit code 3"))
    assert seen(browser, True) != EVENT_SOURCE_CLOSED
    until(browser, lambda b: "exit code 3" in text_of(b))
    until(browser, is_live)
    assert complaints(browser) == []


EVENT_SOURCE_CLOSED = 2


def seen(browser: WebDriver, is_seen: bool) -> object:
    """Tell the page that it is looked at or not; the state of its event source then."""
    return browser.execute_script(
        "Object.defineProperty(document, 'hidden', {value: !arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'));"
        "return events.readyState",
        is_seen,
    )
