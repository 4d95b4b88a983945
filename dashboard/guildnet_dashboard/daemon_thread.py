"""Blocking work in a daemon thread, which does not delay shutdown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar, cast

Value = TypeVar("Value")


def in_daemon_thread(work: Callable[[], Value]) -> asyncio.Future[Value]:
    """Run `work` in a daemon thread.

    The event loop waits for its executor's threads at shutdown, so a hanging remote would delay
    it; a daemon thread does not.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Value] = loop.create_future()

    def settle(result: Value | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(Value, result))

    def run() -> None:
        result: Value | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop is closed: the result is no longer needed
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name=work.__name__, daemon=True).start()
    return future
