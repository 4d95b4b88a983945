"""The paths of the status branch: building and parsing them. Pure.

orgs/<org>/org.json                          OrgRecord
orgs/<org>/tasks/<task>/status.json          TaskRecord
orgs/<org>/tasks/<task>/artifacts/<name>     a small file that the agent left
orgs/<org>/removed/<task>.json               Removed
orgs/<org>/usage/<yyyy-mm>.json              UsageLedger
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import Enum

from guildnet.names import is_name

STATUS_ROOT = "orgs"
MAX_RECORD_BYTES = 1024 * 1024
"""Of one file of the branch: writers refuse larger ones, readers report them as unreadable."""

LOG_TAIL = "log_tail.txt"
"""The end of the agent's log, which is kept next to its artifacts."""

_LEDGER_NAME = re.compile(r"[0-9]{4}-[0-9]{2}[.]json")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


class Kind(Enum):
    """The kinds of files on the status branch."""

    ORG = "org"
    TASK = "task"
    REMOVED = "removed"
    ARTIFACT = "artifact"
    LEDGER = "ledger"


@dataclass(frozen=True, slots=True)
class StatusFile:
    """One file of the branch: `task` is "" for an org's own; `name` is set for artifacts
    and, as yyyy-mm, for ledgers."""

    kind: Kind
    org: str
    task: str = ""
    name: str = ""

    @property
    def is_record(self) -> bool:
        """Whether the file holds a record, which artifacts and ledgers do not."""
        return self.kind not in (Kind.ARTIFACT, Kind.LEDGER)


def parse_status_path(path: str) -> StatusFile | None:
    """The file that a path of the branch names; None for any other path."""
    match path.split("/"):
        case [root, org, *below] if root == STATUS_ROOT and is_name(org):
            pass
        case _:
            return None
    match below:
        case ["org.json"]:
            return StatusFile(Kind.ORG, org)
        case ["tasks", task, "status.json"] if is_name(task):
            return StatusFile(Kind.TASK, org, task)
        case ["tasks", task, "artifacts", name] if is_name(task) and _FILE_NAME.fullmatch(name):
            return StatusFile(Kind.ARTIFACT, org, task, name)
        case ["removed", name] if name.endswith(".json") and is_name(name.removesuffix(".json")):
            return StatusFile(Kind.REMOVED, org, name.removesuffix(".json"))
        case ["usage", name] if _LEDGER_NAME.fullmatch(name):
            return StatusFile(Kind.LEDGER, org, name=name.removesuffix(".json"))
    return None


def org_folder(org: str) -> str:
    return f"{STATUS_ROOT}/{org}"


def org_record_path(org: str) -> str:
    return f"{org_folder(org)}/org.json"


def task_folder(org: str, task: str) -> str:
    return f"{org_folder(org)}/tasks/{task}"


def task_record_path(org: str, task: str) -> str:
    return f"{task_folder(org, task)}/status.json"


def artifact_path(org: str, task: str, name: str) -> str:
    return f"{task_folder(org, task)}/artifacts/{name}"


def removed_path(org: str, task: str) -> str:
    return f"{org_folder(org)}/removed/{task}.json"


def usage_path(org: str, day: date) -> str:
    """The ledger of the day's month."""
    return f"{org_folder(org)}/usage/{day:%Y-%m}.json"
