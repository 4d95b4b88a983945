"""Turns every failure into a page or a JSON answer with its cause and what to do (I10)."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from guildnet.digest import canonical_json
from guildnet.errors import GuildNetError
from guildnet_dashboard.pages import html
from guildnet_dashboard.read_model import NotFound
from guildnet_dashboard.reader import NotReady
from guildnet_dashboard.rendering import Renderer
from guildnet_dashboard.viewer import Viewer, known_viewer

log = logging.getLogger(__name__)

_HEADINGS = {
    400: "Invalid request",
    404: "Not found",
    405: "Read only",
    503: "Loading",
}
_NAME_RULE = "Names consist of at most 50 lower-case letters, digits and hyphens."


def answer_errors(app: FastAPI, renderer: Renderer, repository: str) -> None:
    """Register how `app` answers each kind of failure."""

    def answer(request: Request, status: int, message: str, cure: str | None) -> Response:
        headers = {"Retry-After": "2"} if status == 503 else {}
        if request.url.path.startswith("/api/"):
            body = canonical_json({"error": {"message": message, "cure": cure or ""}})
            return Response(body, status, headers=headers, media_type="application/json")
        viewer = known_viewer(request)
        values = _page(status, message, cure, repository if viewer else "")
        values["viewer"] = viewer or Viewer()
        return html(renderer.page("message.html", values), status=status, headers=headers)

    def known_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, GuildNetError):
            raise error
        if not isinstance(error, NotFound | NotReady):
            log.warning("the request for %s failed: %s", request.url.path, error)
        status = 404 if isinstance(error, NotFound) else 503
        return answer(request, status, error.message, error.cure)

    def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        cure = (
            "The dashboard is read-only: only GET and HEAD are supported."
            if error.status_code == 405
            else None
        )
        response = answer(request, error.status_code, str(error.detail), cure)
        response.headers.update(error.headers or {})
        return response

    def invalid_request(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        found = error.errors()
        names = [e["loc"][-1] for e in found if e["loc"][0] == "path"]
        if names:
            return answer(request, 404, f"invalid {names[0]} name", _NAME_RULE)
        problems = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in found)
        return answer(request, 400, problems, "docs/dashboard.md lists the valid parameters.")

    def unexpected_error(request: Request, error: Exception) -> Response:
        del error  # the server logs it with its traceback
        cure = "See the dashboard's log for details; the records in git are not affected."
        return answer(request, 500, "Internal error while building this page.", cure)

    app.add_exception_handler(GuildNetError, known_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(Exception, unexpected_error)


def _page(status: int, message: str, cure: str | None, repository: str) -> dict[str, object]:
    """Values for the message page, which reloads itself once there is something to show."""
    return {
        "links": [("Overview", "/")],
        "heading": _HEADINGS.get(status, "Something went wrong"),
        "message": message,
        "cure": cure,
        "at": None,
        "live": "*" if status in (404, 503) else "",
        "revision": "loading" if status == 503 else f"error-{status}",
        "health": {"fault": ""},
        "repository": repository,
    }
