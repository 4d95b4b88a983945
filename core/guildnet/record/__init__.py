"""What the status branch says of orgs and tasks, and what that says about runs."""

from __future__ import annotations

from guildnet.record.files import (
    STATUS_ROOT,
    OrgRecord,
    Removed,
    TaskRecord,
    artifact_path,
    org_record_path,
    removed_path,
    task_folder,
    task_record_path,
)
from guildnet.record.reported import is_deeper, reported
from guildnet.record.runs import (
    MAX_HISTORY,
    KnownRun,
    Run,
    history_entry,
    record_of,
    restored,
    superseded,
    wanted_run,
)

__all__ = [
    "MAX_HISTORY",
    "STATUS_ROOT",
    "KnownRun",
    "OrgRecord",
    "Removed",
    "Run",
    "TaskRecord",
    "artifact_path",
    "history_entry",
    "is_deeper",
    "org_record_path",
    "record_of",
    "removed_path",
    "reported",
    "restored",
    "superseded",
    "task_folder",
    "task_record_path",
    "wanted_run",
]
