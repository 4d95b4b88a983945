"""Every failure as a page or as JSON, with its cause and what to do (I10)."""

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

log = logging.getLogger(__name__)

_HEADINGS = {
    400: "This cannot be asked",
    404: "Not found",
    405: "Read only",
    503: "Just a moment",
}
_NAMES = "Names are of lower-case letters, digits and hyphens, at most 50 of them."


def answer_errors(app: FastAPI, renderer: Renderer, place: str) -> None:
    """Register how `app` answers each kind of failure."""

    def answer(request: Request, status: int, message: str, cure: str | None) -> Response:
        headers = {"Retry-After": "2"} if status == 503 else {}
        if request.url.path.startswith("/api/"):
            body = canonical_json({"error": {"message": message, "cure": cure or ""}})
            return Response(body, status, headers=headers, media_type="application/json")
        values = _page(status, message, cure, place)
        return html(renderer.page("message.html", values), status=status, headers=headers)

    def not_answered(request: Request, error: Exception) -> Response:
        if not isinstance(error, GuildNetError):
            raise error
        if not isinstance(error, NotFound | NotReady):
            log.warning("%s could not be answered: %s", request.url.path, error)
        status = 404 if isinstance(error, NotFound) else 503
        return answer(request, status, error.message, error.cure)

    def refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        cure = "Only GET and HEAD are answered." if error.status_code == 405 else None
        response = answer(request, error.status_code, str(error.detail), cure)
        response.headers.update(error.headers or {})
        return response

    def invalid(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        found = error.errors()
        names = [e["loc"][-1] for e in found if e["loc"][0] == "path"]
        if names:
            return answer(request, 404, f"there is no {names[0]} of that name", _NAMES)
        said = [f"{e['loc'][-1]}: {e['msg']}" for e in found]
        return answer(request, 400, "; ".join(said), "docs/dashboard.md lists what can be asked.")

    def unexpected(request: Request, error: Exception) -> Response:
        del error  # the server logs it, with its trace
        cure = "The dashboard's log says more; the record itself is safe in git."
        return answer(request, 500, "This page could not be made.", cure)

    app.add_exception_handler(GuildNetError, not_answered)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, unexpected)


def _page(status: int, message: str, cure: str | None, place: str) -> dict[str, object]:
    """What the message page needs. It replaces itself once there is something to show."""
    return {
        "heading": _HEADINGS.get(status, "Something went wrong"),
        "message": message,
        "cure": cure,
        "at": None,
        "live": "*" if status in (404, 503) else "",
        "revision": "loading" if status == 503 else f"error-{status}",
        "health": {"fault": ""},
        "place": place,
    }
