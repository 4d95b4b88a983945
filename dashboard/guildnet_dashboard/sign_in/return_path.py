"""Where sign-in returns to: only pages of the dashboard itself. Pure."""

from __future__ import annotations

from urllib.parse import unquote

MAX_CHARACTERS = 1024
_FLOW = ("/signin", "/signout", "/signed-out")


def return_path(wanted: str) -> str | None:
    """`wanted` if it is a path on this host; None for anything that a browser could take for
    another address.

    Browsers read `//host`, `/\\host` and both with tabs or line breaks in between as other hosts.
    """
    if len(wanted) > MAX_CHARACTERS or not wanted.isascii() or not wanted.isprintable():
        return None
    path = wanted.partition("?")[0].partition("#")[0]
    if not wanted.startswith("/") or "\\" in wanted or path.startswith("//") or " " in wanted:
        return None
    is_flow = any(unquote(path).rstrip("/").startswith(prefix) for prefix in _FLOW)
    return "/" if is_flow else wanted
