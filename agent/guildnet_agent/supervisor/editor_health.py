"""Whether the editor in the work container serves, from its own health page."""

from __future__ import annotations

import asyncio

import httpx

from guildnet_agent.settings import Settings
from guildnet_agent.supervisor.state_board import StateBoard

_WHILE_STARTING_SECONDS = 1.0
_WHILE_SERVING_SECONDS = 10.0


async def watch_editor(board: StateBoard, settings: Settings) -> None:
    """Keep ``editor.serving`` of the state up to date; never returns."""
    url = f"http://127.0.0.1:{settings.editor_port}/healthz"
    async with httpx.AsyncClient(timeout=3, trust_env=False) as client:
        while True:
            serving = await _is_serving(client, url)
            if serving != board.state.editor_serving:
                board.change(editor_serving=serving)
            await asyncio.sleep(_WHILE_SERVING_SECONDS if serving else _WHILE_STARTING_SECONDS)


async def _is_serving(client: httpx.AsyncClient, url: str) -> bool:
    try:
        # The command may serve on this port instead of the editor: never read the body.
        async with client.stream("GET", url) as answer:
            return answer.status_code == 200
    except httpx.HTTPError:
        return False
