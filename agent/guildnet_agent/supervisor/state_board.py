"""The agent's current state, and the requests that wait for it to change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from guildnet.agent_api.state import AgentState
from guildnet.digest import canonical_json, sha256_hex


class StateBoard:
    """The current state; the API waits here for its next change."""

    def __init__(self) -> None:
        self._state = AgentState()
        self._changed = asyncio.Event()
        self._body = canonical_json(self._state.to_json())

    @property
    def state(self) -> AgentState:
        return self._state

    @property
    def is_idle(self) -> bool:
        """Whether no start is in progress, so that another one may begin."""
        return self._state.step == "Waiting" or self._state.is_over

    @property
    def body(self) -> bytes:
        """The state's JSON: the same state gives the same bytes."""
        return self._body

    @property
    def etag(self) -> str:
        return f'"{sha256_hex(self._body)[:32]}"'

    def show(self, state: AgentState) -> None:
        self._state = state
        body = canonical_json(state.to_json())
        if body != self._body:
            self._body = body
            self._changed.set()
            self._changed = asyncio.Event()

    def change(self, **fields: Any) -> None:
        """`show` the current state with these fields replaced."""
        self.show(replace(self._state, **fields))

    async def wait_for_other(self, etag: str | None, seconds: float) -> bool:
        """Whether the state differs from ``etag`` now or does so within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                while self.etag == etag:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
