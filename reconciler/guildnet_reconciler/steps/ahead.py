"""Loading ahead: while one chunk is planned and applied, the next is being loaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from guildnet_reconciler.steps.load import Loaded

C = TypeVar("C")


async def loaded_ahead(
    chunks: Iterable[C], load: Callable[[C], Coroutine[Any, Any, Loaded]]
) -> AsyncGenerator[tuple[C, Loaded], None]:
    """Each chunk with what was loaded of it, in order; never more than one ahead."""
    rest = iter(chunks)
    chunk = next(rest, None)
    loading = None if chunk is None else asyncio.create_task(_caught(load(chunk)))
    try:
        while chunk is not None and loading is not None:
            loaded = await loading
            if isinstance(loaded, BaseException):
                raise loaded
            done = chunk, loaded
            chunk = next(rest, None)
            loading = None if chunk is None else asyncio.create_task(_caught(load(chunk)))
            yield done
    finally:
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)


async def _caught(loading: Coroutine[Any, Any, Loaded]) -> Loaded | BaseException:
    """What was loaded, or the exception: asyncio would raise some exceptions of a task from the
    event loop itself, instead of to the caller that awaits the chunk."""
    try:
        return await loading
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error
