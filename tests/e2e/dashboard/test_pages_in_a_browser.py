"""The pages in a real Chromium, under their content security policy."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
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


def console_problems(browser: WebDriver) -> list[str]:
    """Errors and warnings on the console, including violations of the content security policy."""
    return [
        entry["message"] for entry in console(browser) if entry["level"] in ("SEVERE", "WARNING")
    ]


def until(browser: WebDriver, holds: Callable[[WebDriver], object]) -> None:
    # A page that loads again replaces the elements between two questions.
    passing = [NoSuchElementException, StaleElementReferenceException]
    WebDriverWait(browser, DEADLINE, 0.1, ignored_exceptions=passing).until(holds)


def text_of(browser: WebDriver) -> str:
    return browser.find_element(By.TAG_NAME, "body").text


def is_live(browser: WebDriver) -> bool:
    return bool(browser.find_elements(By.CSS_SELECTOR, "[data-live-state=on]"))


@pytest.fixture
def recorded(repository: StateRepository) -> StateRepository:
    """A repository with two orgs, a running task and an unreachable cluster."""
    repository.orgs("acme", "globex", acme=("fix", "queue"))
    repository.report(
        OrgRecord("acme", cluster={"reachable": True}),
        OrgRecord("globex", cluster={"reachable": False, "message": "no answer within 5 s"}),
        task_record("acme", "fix"),
        files=artifact("acme", "fix", "log_tail.txt", "42 passed"),
    )
    return repository


def test_pages_load_under_the_policy(
    recorded: StateRepository, address: str, browser: WebDriver
) -> None:
    """No page violates its policy or logs an error, and each one becomes live."""
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
        assert console_problems(browser) == [], path
    times = browser.find_elements(By.CSS_SELECTOR, "footer time")
    assert (times[0].get_attribute("title") or "").endswith("UTC")
    assert "UTC" not in times[0].text


def test_a_new_commit_appears_without_reload(
    recorded: StateRepository, address: str, browser: WebDriver
) -> None:
    """I10: an open page shows a failure and its cause within 10 s."""
    browser.get(address + "/tasks/acme/fix")
    until(browser, is_live)
    browser.execute_script("window.sameDocument = true")
    recorded.report(task_record("acme", "fix", result="RetriesExhausted", message="exit code 3"))
    WebDriverWait(browser, 10, poll_frequency=0.1).until(lambda b: "exit code 3" in text_of(b))
    assert browser.execute_script("return window.sameDocument") is True
    assert console_problems(browser) == []


def test_typed_text_survives_an_update(
    recorded: StateRepository, address: str, browser: WebDriver
) -> None:
    browser.get(address + "/orgs/acme")
    until(browser, is_live)
    field = browser.find_element(By.ID, "q")
    field.send_keys("half a wor")
    recorded.report(task_record("acme", "queue", result="TaskSucceeded"))
    until(browser, lambda b: "TaskSucceeded" in text_of(b))
    again = browser.find_element(By.ID, "q")
    assert again.get_attribute("value") == "half a wor"
    assert browser.switch_to.active_element == again


def test_scripts_written_by_agents_do_not_run(
    recorded: StateRepository, address: str, browser: WebDriver
) -> None:
    """I9: scripts in titles, messages, logs and artifacts stay text."""
    pull = {"url": "javascript:window.attacked=true", "repository": "a/b", "number": 1}
    recorded.report(
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
        # Replacing parts of the page must be as safe as its first load.
        browser.execute_script("window.done = false; refresh().then(() => { window.done = true })")
        until(browser, lambda b: b.execute_script("return window.done"))
        assert browser.execute_script("return window.attacked === undefined"), path
    assert ATTACK in browser_text(browser, address)
    links = browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript:']")
    assert links == []
    assert console_problems(browser) == []


def browser_text(browser: WebDriver, address: str) -> str:
    browser.get(address + "/tasks/acme/fix")
    return text_of(browser)


def test_page_at_an_earlier_commit_and_back(
    recorded: StateRepository, address: str, browser: WebDriver
) -> None:
    before = recorded.tip("status")
    recorded.report(task_record("acme", "fix", result="TaskSucceeded"))
    browser.get(f"{address}/tasks/acme/fix?at={before}")
    assert "at status commit" in text_of(browser)
    assert "Running" in browser.find_element(By.TAG_NAME, "h1").text
    browser.find_element(By.LINK_TEXT, "Back to now").click()
    until(browser, lambda b: "Succeeded" in b.find_element(By.TAG_NAME, "h1").text)
    assert console_problems(browser) == []


def test_pages_without_scripts(recorded: StateRepository, address: str, browser: WebDriver) -> None:
    """Without scripts the page is complete, with absolute times and without live updates."""
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


def test_pages_fit_a_phone(recorded: StateRepository, address: str, browser: WebDriver) -> None:
    """Rows become cards; no page or table scrolls sideways, whatever the length of a name."""
    name = "a-task-with-the-longest-name-that-is-allowed-50-ch"
    pull = {"url": "https://git.example/1", "repository": "o/" + "r" * 60, "number": 1}
    recorded.orgs("acme", acme=(name,))
    recorded.report(
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


def test_log_is_scrolled_to_its_end(
    recorded: StateRepository, address: str, browser: WebDriver
) -> None:
    lines = "\n".join(f"line {number}" for number in range(200))
    recorded.report(
        task_record("acme", "fix"), files=artifact("acme", "fix", "log_tail.txt", lines)
    )
    browser.get(address + "/tasks/acme/fix")
    until(browser, lambda b: "line 199" in text_of(b))
    below = browser.execute_script(
        "const log = document.querySelector('.log');"
        "return log.firstElementChild.getBoundingClientRect().bottom"
        " - log.getBoundingClientRect().bottom"
    )
    assert abs(below) < 5


def test_only_a_visible_page_listens(
    recorded: StateRepository, address: str, browser: WebDriver
) -> None:
    """Many tabs must not use up the connections that a browser opens to one host."""
    browser.get(address + "/tasks/acme/fix")
    until(browser, is_live)
    assert set_visible(browser, False) == EVENT_SOURCE_CLOSED
    recorded.report(task_record("acme", "fix", result="RetriesExhausted", message="exit code 3"))
    assert set_visible(browser, True) != EVENT_SOURCE_CLOSED
    until(browser, lambda b: "exit code 3" in text_of(b))
    until(browser, is_live)
    assert console_problems(browser) == []


EVENT_SOURCE_CLOSED = 2


def set_visible(browser: WebDriver, is_visible: bool) -> object:
    """Make the page visible or hidden, and return the state of its event source."""
    return browser.execute_script(
        "Object.defineProperty(document, 'hidden', {value: !arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'));"
        "return events.readyState",
        is_visible,
    )
