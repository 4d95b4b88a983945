"""The Lease: only one operator at a time writes in a namespace."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator

from guildnet import labels
from guildnet.errors import KubeError
from guildnet.kube import KubeClient, Lease
from guildnet_operator.settings import Settings

logger = logging.getLogger(__name__)

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOG_HOLDER_SECONDS = 5.0


class Leadership:
    """The Lease that one operator of a namespace holds; `lost` is set when it is lost."""

    def __init__(self, settings: Settings, client: KubeClient) -> None:
        self.lost = asyncio.Event()
        self._was_held = False
        self._is_released = False
        self._where = f"Lease {labels.OPERATOR} in {client.namespace}"
        self._renewal_error = ""
        self.lease = Lease(
            client,
            labels.OPERATOR,
            settings.holder,
            on_held=self._on_held,
            on_liveness=self._on_liveness,
        )

    def _on_held(self, held: bool) -> None:
        if self._was_held and not held and not self._is_released:
            logger.error("lost the %s", self._where)
            self.lost.set()
        self._was_held = self._was_held or held

    def _on_liveness(self, error: KubeError | None) -> None:
        renewal_error = str(error) if error else ""
        if renewal_error and renewal_error != self._renewal_error:
            logger.warning("cannot renew the %s: %s", self._where, renewal_error)
        self._renewal_error = renewal_error

    @contextlib.asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Acquire and renew the Lease in the background; release it at the end."""
        renewal = asyncio.create_task(self.lease.run(), name="lease")
        try:
            yield
        finally:
            self._is_released = True
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)

    async def acquire(self) -> bool:
        """Wait until the Lease is held; False if a signal stops the operator before."""
        acquiring = asyncio.create_task(self.lease.wait_held())
        logging_holder = asyncio.create_task(self._log_holder())
        loop = asyncio.get_running_loop()
        # Process 1 ignores SIGTERM without a handler; once kopf runs, it sets its own.
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, acquiring.cancel)
        try:
            await asyncio.wait([acquiring])
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)
            for task in (acquiring, logging_holder):
                task.cancel()
        if acquiring.cancelled():
            return False
        logger.info("acquired the %s; reconciling its AgentTasks", self._where)
        return True

    async def _log_holder(self) -> None:
        while True:
            await asyncio.sleep(_LOG_HOLDER_SECONDS)
            if self.lease.other_holder:
                logger.info(
                    "waiting for the %s, which %s holds", self._where, self.lease.other_holder
                )
