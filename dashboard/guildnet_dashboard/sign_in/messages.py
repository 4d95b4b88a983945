"""The pages that people see without a session."""

from __future__ import annotations

from fastapi import Response

from guildnet.errors import GuildNetError
from guildnet_dashboard.pages import html
from guildnet_dashboard.rendering import Renderer, link_to
from guildnet_dashboard.sign_in.access import SIGN_IN
from guildnet_dashboard.sign_in.errors import ProviderUnavailable
from guildnet_dashboard.viewer import Viewer


class Messages:
    """Renders short pages. They name neither orgs nor the repository."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def refused(self, message: str, cure: str) -> Response:
        return self._page(400, "Not signed in", message, cure, _again("/"))

    def failed(self, error: GuildNetError, back: str) -> Response:
        """Sign-in failed for a reason that the provider or the settings are the cause of."""
        is_down = isinstance(error, ProviderUnavailable)
        heading = "Sign-in is not available" if is_down else "Not signed in"
        message = f"{error.place}: {error.message}" if error.place else error.message
        page = self._page(503 if is_down else 403, heading, message, error.cure or "", _again(back))
        if is_down:
            page.headers["Retry-After"] = "5"
        return page

    def signed_out(self, provider: str | None) -> Response:
        """`provider` is the address where the person can sign out of the provider too."""
        links = [("Sign in", SIGN_IN)]
        if provider is not None:
            links.append(("Sign out of the identity provider too", provider))
        message = "You are signed out of the dashboard."
        return self._page(200, "Signed out", message, "", links)

    def _page(
        self, status: int, heading: str, message: str, cure: str, links: list[tuple[str, str]]
    ) -> Response:
        values = {
            "heading": heading,
            "message": message,
            "cure": cure,
            "links": links,
            "at": None,
            "live": "",
            "revision": "signed-out",
            "health": {"fault": ""},
            "repository": "",
            "viewer": Viewer(),
        }
        body = self._renderer.page("message.html", values)
        return html(body, status=status, headers={"Cache-Control": "no-store"})


def _again(back: str) -> list[tuple[str, str]]:
    query = {"return": back} if back != "/" else {}
    return [("Sign in again", link_to(SIGN_IN, query))]
