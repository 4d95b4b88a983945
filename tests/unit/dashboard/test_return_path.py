"""Sign-in returns to pages of the dashboard, and nowhere else."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet_dashboard.sign_in.return_path import return_path

HOME = "https://dash.example/signin"


@pytest.mark.parametrize(
    "path", ["/", "/orgs/acme", "/orgs/acme?state=failed&q=a%20b", "/?at=abc", "/tasks/a/b#log"]
)
def test_pages_are_kept(path: str) -> None:
    assert return_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "orgs",
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        " //evil.example",
        "/ /evil.example",
        "javascript:alert(1)",
        "/\u2044evil.example",
        "/" + "x" * 2000,
    ],
)
def test_other_addresses_are_refused(path: str) -> None:
    assert return_path(path) is None


@pytest.mark.parametrize(
    "path", ["/signin", "/signin?return=/x", "/sign%69n", "/signout", "/signed-out"]
)
def test_the_flow_itself_is_not_returned_to(path: str) -> None:
    """A browser must not go round in circles, nor sign out after signing in."""
    assert return_path(path) == "/"


@given(st.text(alphabet=" /\\.:@?#%\t\n\rahtps-e%", max_size=12))
def test_whatever_is_kept_stays_on_this_host(path: str) -> None:
    kept = return_path(path)
    if kept is not None:
        # As browsers do: without tabs and line breaks, and with \ for /.
        read = kept.translate({9: None, 10: None, 13: None, 92: "/"})
        assert urlsplit(urljoin(HOME, read)).netloc == "dash.example"
