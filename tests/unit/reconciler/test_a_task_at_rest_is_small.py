"""What the reconciler keeps of each task in sync: its file's place, its object and its record."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from guildnet import labels
from guildnet.merge import RunRef, agent_task
from guildnet.record import record_of
from guildnet.resources import Org, Task, task_path
from guildnet_reconciler.records.org_records import OrgRecords
from guildnet_reconciler.source.index import SourceIndex
from guildnet_reconciler.source.listing import Folder, Node
from guildnet_reconciler.steps.observe import Inventory, observe

TASKS = 500
MAX_BYTES = 1600
"""Of 2 KiB; the rest is for the allocator and for the table of interned texts."""


def bytes_of(*roots: object) -> int:
    """The size of all objects that can be reached from `roots`, each counted once."""
    seen: dict[int, object] = {}
    rest: list[object] = list(roots)
    while rest:
        found = rest.pop()
        if id(found) not in seen and not isinstance(found, type):
            seen[id(found)] = found
            rest += gc.get_referents(found)
    return sum(map(sys.getsizeof, seen.values()))


def hex_digest(number: int) -> str:
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def from_the_cluster(org: Org, task: Task, number: int) -> Any:
    """The object as an answer's JSON: none of its texts is one that exists already."""
    body = agent_task(org, task, RunRef(1))
    own = body["metadata"]["labels"]
    body["metadata"] |= {
        "uid": f"{hex_digest(number)[:8]}-d940-4e68-a74c-a4cf77d4a2c8",
        "resourceVersion": str(100_000 + number),
        "creationTimestamp": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "managedFields": [
            {
                "manager": labels.RECONCILER,
                "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:labels": {f"f:{k}": {} for k in own}}},
            }
        ],
    }
    return json.loads(json.dumps(body))


def test_a_task_takes_less_than_2_kib(org: Org, make_task: Callable[..., Task]) -> None:
    names = [f"task-{number:05d}" for number in range(TASKS)]
    index, inventory, records = SourceIndex(), Inventory(), OrgRecords()
    nodes = tuple(
        Node(task_path(org.name, name), "file", hex_digest(number))
        for number, name in enumerate(names)
    )
    index.advance("r", {f"tasks/{org.name}": Folder("t", nodes)})
    for number, name in enumerate(names):
        task = make_task(name, f"prompt {number}", blob=hex_digest(number))
        obj = from_the_cluster(org, task, number)
        observed = observe(obj, org.name)
        assert not observed.is_tampered
        inventory.put(observed)
        record = record_of(obj, org.name, None)
        assert record is not None
        records.put(record)
    assert len(index.tasks[org.name]) == len(inventory.tasks) == len(records.recorded) == TASKS
    assert bytes_of(index, inventory, records) / TASKS < MAX_BYTES
