"""The status branch: where its files are, what they hold, how they are read, and how runs count."""

from __future__ import annotations

from guildnet.record.files import OrgRecord, Removed, TaskRecord
from guildnet.record.ledger import Amounts, UsageLedger, increment
from guildnet.record.machines import MachineCondition, MachinesReport, MachineStatus
from guildnet.record.paths import (
    LOG_TAIL,
    MAX_RECORD_BYTES,
    STATUS_ROOT,
    Kind,
    StatusFile,
    artifact_path,
    org_folder,
    org_record_path,
    parse_status_path,
    removed_path,
    task_folder,
    task_record_path,
    usage_path,
)
from guildnet.record.reading import (
    InvalidRecord,
    StoredFile,
    parse_record,
    read_files,
    records_at,
    too_large,
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
from guildnet.record.usage import usage_text

__all__ = [
    "LOG_TAIL",
    "MAX_HISTORY",
    "MAX_RECORD_BYTES",
    "STATUS_ROOT",
    "Amounts",
    "InvalidRecord",
    "Kind",
    "KnownRun",
    "MachineCondition",
    "MachineStatus",
    "MachinesReport",
    "OrgRecord",
    "Removed",
    "Run",
    "StatusFile",
    "StoredFile",
    "TaskRecord",
    "UsageLedger",
    "artifact_path",
    "history_entry",
    "increment",
    "is_deeper",
    "org_folder",
    "org_record_path",
    "parse_record",
    "parse_status_path",
    "read_files",
    "record_of",
    "records_at",
    "removed_path",
    "reported",
    "restored",
    "superseded",
    "task_folder",
    "task_record_path",
    "too_large",
    "usage_path",
    "usage_text",
    "wanted_run",
]
