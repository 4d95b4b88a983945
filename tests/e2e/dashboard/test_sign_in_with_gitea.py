"""Signing in with a real Gitea in a real Chromium, over HTTPS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from tests.e2e.dashboard.test_pages_in_a_browser import (
    console_problems,
    is_live,
    text_of,
    until,
)
from tests.functional.dashboard.state_repository import StateRepository, task_record

from guildnet_devcluster import forge
from guildnet_devcluster.forge import Forge
from guildnet_devcluster.forge_admin import ForgeAdmin
from guildnet_devcluster.progress import progress_to

GUILDNET = Path(sys.executable).with_name("guildnet")
SESSION = "__Host-guildnet-session"


@dataclass(frozen=True)
class Person:
    """A user of the forge."""

    name: str
    password: str


@pytest.fixture(scope="module")
def gitea() -> Iterator[Forge]:
    """A real Gitea, which is an OpenID Connect provider."""
    data = Path(tempfile.mkdtemp(prefix="guildnet-test-forge-"))
    try:
        listen = f"127.0.0.1:{free_port()}"
        yield forge.up(data, listen=listen, root_url=None, progress=progress_to())
    finally:
        forge.down(data)
        shutil.rmtree(data)


@pytest.fixture(scope="module")
def people(gitea: Forge) -> dict[str, Person]:
    """ada, of a team of acme; bob, of a team of globex; root, of the team of admins."""
    admin = ForgeAdmin(gitea.local_url, gitea.admin_token)
    made = {}
    for name, organization, team in (
        ("ada", "acme", "developers"),
        ("bob", "globex", "developers"),
        ("root", "staff", "platform"),
    ):
        made[name] = Person(name, f"a-long-password-of-{name}")
        admin.create_user(name, made[name].password)
        admin.create_organization(organization)
        admin.add_member(organization, team, name)
    return made


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateRepository:
    """A repository with two orgs, each with a running task."""
    made = StateRepository(tmp_path_factory.mktemp("sign-in") / "state.git")
    made.orgs("acme", "globex", acme=("fix",), globex=("secret-plan",))
    made.report(task_record("acme", "fix"), task_record("globex", "secret-plan"))
    return made


@pytest.fixture(scope="module")
def served(gitea: Forge, state: StateRepository) -> Iterator[str]:
    """The URL of `guildnet dashboard` with sign-in, over HTTPS with a development certificate."""
    folder = state.path.parent
    url = f"https://127.0.0.1:{free_port()}"
    admin = ForgeAdmin(gitea.local_url, gitea.admin_token)
    client, secret = admin.create_oauth_application("GuildNet", f"{url}/signin/callback")
    (folder / "secret").write_text(secret)
    command: list[str | Path] = [
        *(GUILDNET, "dashboard", "--repo", state.path, "--dev-tls"),
        *("--listen", url.removeprefix("https://"), "--public-url", url),
        *("--oidc-issuer", gitea.url, "--oidc-client-id", client),
        *("--oidc-client-secret-file", folder / "secret"),
        *("--oidc-admin-group", "staff:platform"),
    ]
    environment = os.environ | {"GUILDNET_STATE_DIR": str(folder / "state")}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
        try:
            wait_until_ready(process, url)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)
        log.seek(0)
        assert secret not in log.read()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the dashboard ended"
        assert time.monotonic() < deadline, "the dashboard was not ready within a minute"
        try:
            if httpx.get(f"{url}/api/health", verify=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)


@pytest.fixture
def dashboard(served: str, browser: WebDriver) -> Iterator[str]:
    """The URL of the dashboard, for a browser that is signed in nowhere."""
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
    # The Gitea of a devcluster has no scripts and style sheets, and its pages alert about that.
    quiet = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "window.alert = () => {}"}
    )
    yield served
    browser.get("about:blank")
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", quiet)
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": False})


def sign_in(browser: WebDriver, address: str, person: Person) -> None:
    """Ask for a page, sign in at the forge, allow the dashboard the first time, and come back."""
    browser.get(address)
    until(browser, lambda b: b.find_elements(By.ID, "user_name"))
    browser.find_element(By.ID, "user_name").send_keys(person.name)
    browser.find_element(By.ID, "password").send_keys(person.password)
    browser.find_element(By.ID, "password").submit()
    until(browser, lambda b: b.find_elements(By.ID, "authorize-app") or is_live(b))
    for button in browser.find_elements(By.ID, "authorize-app"):
        button.click()
    until(browser, is_live)
    console_problems(browser)  # those of Gitea's own pages


def cookies(browser: WebDriver) -> dict[str, dict[str, Any]]:
    found = browser.execute_cdp_cmd("Network.getCookies", {})["cookies"]
    return {cookie["name"]: cookie for cookie in found}


def fetched(browser: WebDriver, path: str) -> tuple[int, str]:
    """What a script on the page gets."""
    status, text = browser.execute_async_script(
        "const done = arguments[1];"
        "fetch(arguments[0]).then(async (a) => done([a.status, await a.text()]))",
        path,
    )
    return int(status), str(text)


def test_a_member_of_a_forges_organization_sees_that_org(
    dashboard: str, people: dict[str, Person], browser: WebDriver
) -> None:
    sign_in(browser, f"{dashboard}/tasks/acme/fix", people["ada"])
    assert browser.current_url == f"{dashboard}/tasks/acme/fix"
    assert "ada" in browser.find_element(By.CSS_SELECTOR, "form.viewer").text
    for path in ("/", "/orgs/acme", "/activity", "/problems"):
        browser.get(dashboard + path)
        until(browser, is_live)
        assert "acme" in text_of(browser) or path == "/problems"
        assert "globex" not in browser.page_source
        assert console_problems(browser) == []
    assert "does not exist" in fetched(browser, "/api/orgs/globex/tasks")[1]
    session = cookies(browser)[SESSION]
    assert (session["httpOnly"], session["secure"], session["sameSite"]) == (True, True, "Lax")
    assert SESSION not in browser.execute_script("return document.cookie")


def test_a_team_of_admins_sees_every_org(
    dashboard: str, people: dict[str, Person], browser: WebDriver
) -> None:
    sign_in(browser, dashboard, people["root"])
    assert "acme" in text_of(browser)
    assert "globex" in text_of(browser)


def test_an_open_page_signs_in_again_after_its_session(
    dashboard: str, people: dict[str, Person], browser: WebDriver, state: StateRepository
) -> None:
    """The forge's own session still lasts, so the person only sees the page load."""
    sign_in(browser, f"{dashboard}/orgs/acme?sort=name", people["ada"])
    browser.execute_cdp_cmd("Network.deleteCookies", {"name": SESSION, "url": dashboard})
    state.report(task_record("acme", "fix", result="TaskFailed", message="exit code 3"))
    until(browser, lambda b: "exit code 3" in text_of(b))
    until(browser, is_live)
    assert browser.current_url == f"{dashboard}/orgs/acme?sort=name"
    assert SESSION in cookies(browser)


def test_signing_out(dashboard: str, people: dict[str, Person], browser: WebDriver) -> None:
    sign_in(browser, dashboard, people["bob"])
    browser.find_element(By.CSS_SELECTOR, "form.viewer button").click()
    until(browser, lambda b: b.current_url == f"{dashboard}/signed-out")
    assert "You are signed out" in text_of(browser)
    assert SESSION not in cookies(browser)
    assert console_problems(browser) == []
    status, text = fetched(browser, "/api/orgs")
    assert status == 401
    assert "globex" not in text
    browser.find_element(By.LINK_TEXT, "Sign in").click()
    until(browser, is_live)
    assert "globex" in text_of(browser)
