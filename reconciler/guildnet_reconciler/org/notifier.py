"""Notifies an org's receivers of what its records list, beside the org's passes.

The org's record says what is not delivered yet; nothing is kept here that a restart would lose.
Each receiver has a task of its own, so that one that hangs delays neither a pass nor another
receiver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from guildnet.backoff import Backoff
from guildnet.notify.delivery import Courier, NotDelivered
from guildnet.notify.notices import (
    Notice,
    pending_in,
    with_org_change,
    with_task_change,
    without_delivered,
)
from guildnet.notify.receivers import Receiver, receivers_of
from guildnet.record import OrgRecord, TaskRecord
from guildnet.resources import Org
from guildnet_reconciler.faults import Fault, Firewall
from guildnet_reconciler.records.branch import StatusWriter

RETRIES = Backoff(timedelta(seconds=5), timedelta(minutes=10))
PART = "notifications"


class Notifier:
    """The notifications of one org.

    `org` returns the org in force, None until it is known. `may_send` says whether this process
    works on the org. `on_fault` is called when `faults` changes.
    """

    def __init__(
        self,
        name: str,
        *,
        org: Callable[[], Org | None],
        status: StatusWriter,
        firewall: Firewall,
        courier: Courier,
        may_send: Callable[[], bool],
        on_fault: Callable[[], None],
    ) -> None:
        self._org = name
        self._in_force = org
        self._status = status
        self._firewall = firewall
        self._courier = courier
        self._may_send = may_send
        self._on_fault = on_fault
        self._faults: dict[str, Fault] = {}
        self._senders: dict[str, tuple[Receiver, asyncio.Task[None]]] = {}

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Receivers that accept nothing now. One outage has many errors: the first is kept, so
        that the record changes once."""
        receivers = self._receivers()
        return tuple(self._faults[name] for name in sorted(self._faults) if name in receivers)

    @property
    def is_first_try(self) -> bool:
        """Whether something is being sent that no receiver has refused yet."""
        return any(
            name not in self._faults and not task.done()
            for name, (_, task) in self._senders.items()
        )

    # --- what the records list ---------------------------------------------------------------

    def task_changed(self, before: TaskRecord | None, after: TaskRecord) -> None:
        """A task's record was put."""
        record = self._status.of(self._org).org or OrgRecord(self._org)
        changed = with_task_change(record, before, after, self._receivers().values())
        if changed is not record and self._status.put_org(changed, "notifications"):
            self.wake()

    def noted(self, record: OrgRecord) -> OrgRecord:
        """The org's next record, with its notices."""
        before = self._status.of(self._org).org
        if self._in_force() is None and before is not None:  # its receivers are not known yet
            return replace(record, notices=before.notices, incidents=before.incidents)
        return with_org_change(before, record, self._receivers().values())

    def _receivers(self) -> Mapping[str, Receiver]:
        org = self._in_force()
        return receivers_of(org.spec) if org is not None else {}

    # --- sending ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Send what the org's record lists. A receiver that was changed is tried at once."""
        receivers = self._receivers()
        for name in [name for name in self._faults if name not in receivers]:
            del self._faults[name]
        for name, (receiver, task) in list(self._senders.items()):
            if task.done() or receivers.get(name) != receiver:
                task.cancel()
                del self._senders[name]
        for name, receiver in receivers.items():
            if name not in self._senders and self._next_for(name) is not None:
                task = asyncio.create_task(self._send(receiver), name=f"{self._org} notify {name}")
                self._senders[name] = (receiver, task)

    async def _send(self, receiver: Receiver) -> None:
        with self._firewall.around(PART):
            failures = 0
            while (notice := self._next_for(receiver.name)) is not None:
                try:
                    await self._courier.deliver(receiver, notice)
                except NotDelivered as error:
                    failures += 1
                    self._failed(receiver, error)
                    pause = RETRIES.pause(failures).total_seconds()
                    await asyncio.sleep(max(pause, error.retry_after or 0))
                else:
                    failures = 0
                    self._delivered(receiver, notice)

    def _next_for(self, receiver: str) -> Notice | None:
        if not self._may_send() or self._status.lost is not None:
            return None
        pending = pending_in(self._status.of(self._org).org)
        return next((notice for notice in pending if receiver in notice.to), None)

    def _delivered(self, receiver: Receiver, notice: Notice) -> None:
        record = self._status.of(self._org).org
        if record is not None and self._may_send():
            self._status.put_org(
                without_delivered(record, notice.id, receiver.name), "notifications"
            )
        if self._faults.pop(receiver.name, None) is not None:
            self._on_fault()

    def _failed(self, receiver: Receiver, error: NotDelivered) -> None:
        if receiver.name not in self._faults:
            message = f"the receiver {receiver.name!r} of spec.notify: {error}"
            self._faults[receiver.name] = Fault("NotNotified", message)
            self._on_fault()

    async def close(self) -> None:
        """End what is being sent; the org's record still lists it."""
        tasks = [task for _, task in self._senders.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._courier.close()
