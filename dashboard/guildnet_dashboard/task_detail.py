"""Everything known about one task, read from its blobs when its page is requested. Blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guildnet.agent_api.artifacts import is_artifact_name
from guildnet.errors import InvalidResource
from guildnet.git import Mirror
from guildnet.loading import MAX_FILE_BYTES, parse_yaml
from guildnet.record import LOG_TAIL, MAX_RECORD_BYTES, artifact_path, task_folder
from guildnet.redact import hide_user_info
from guildnet_dashboard.json_values import mappings, number, parse_object, text
from guildnet_dashboard.read_model import NotFound
from guildnet_dashboard.snapshot import OrgView, Snapshot, TaskRow
from guildnet_dashboard.states import summary_of

MAX_SHOWN_BYTES = 256 * 1024
MAX_SHOWN_ARTIFACTS = 32


@dataclass(frozen=True, slots=True)
class ShownArtifact:
    """`content` is None if it is too large to show, not text, or was not collected."""

    name: str
    bytes: int
    sha256: str
    content: str | None


@dataclass(frozen=True)
class TaskDetail:
    """`record` is the task's whole `status.json`, {} if it has none.

    `removed`: the task was removed from the source branch, and this is its last record.
    """

    row: TaskRow
    record: Mapping[str, Any]
    source_text: str | None = None
    artifacts: tuple[ShownArtifact, ...] = ()
    log_tail: str | None = None
    removed: bool = False
    prompt: str = ""


def task_detail(mirror: Mirror, snapshot: Snapshot, org: OrgView, task: str) -> TaskDetail:
    """Raises NotFound if there is no such task."""
    row = org.tasks.get(task)
    if row is None:
        if task in org.removed:
            return _removed_task(mirror, org, task)
        raise NotFound(
            f"org {org.name} has no task {task[:80]!r}",
            cure="A committed task appears within seconds; if not, see the problems page.",
        )
    record = read_object(_blob(mirror, row.record.blob, MAX_RECORD_BYTES)) if row.record else {}
    artifacts, log_tail = _artifacts(mirror, snapshot.status, row, record)
    source = _blob(mirror, row.source, MAX_FILE_BYTES) if row.source else None
    prompt = _prompt(source or b"", f"{org.name}/{task}")
    return TaskDetail(row, record, _text_of(source), artifacts, log_tail, prompt=prompt)


def _prompt(source: bytes, place: str) -> str:
    """The prompt in the task's file; "" if the file cannot be parsed."""
    try:
        value, _ = parse_yaml(source, place)
    except InvalidResource:
        return ""
    spec = value.get("spec") if isinstance(value, dict) else None
    return hide_user_info(text(spec, "prompt")) if isinstance(spec, dict) else ""


def _removed_task(mirror: Mirror, org: OrgView, task: str) -> TaskDetail:
    blob = org.removed[task]
    data = _blob(mirror, blob, MAX_RECORD_BYTES)
    row = TaskRow(org.name, task, summary_of(data or b"", blob))
    return TaskDetail(row, read_object(data), removed=True)


def _artifacts(
    mirror: Mirror, commit: str, row: TaskRow, record: Mapping[str, Any]
) -> tuple[tuple[ShownArtifact, ...], str | None]:
    """Return (artifacts, log tail); artifacts that only the record names have no content."""
    folder = f"{task_folder(row.org, row.name)}/artifacts"
    found = mirror.index(commit, (folder,)) if record else {}
    named = {text(item, "name"): item for item in mappings(record.get("artifacts"))}
    artifacts, log_tail = [], None
    paths = sorted(found)[:MAX_SHOWN_ARTIFACTS]
    read = mirror.read_blobs([found[path] for path in paths], max_bytes=MAX_SHOWN_BYTES)
    for path, (_, size, data) in zip(paths, read, strict=True):
        name = path.removeprefix(folder + "/")
        digest = text(named.pop(name, {}), "sha256")
        if name == LOG_TAIL:
            log_tail = _text_of(data)
        else:
            artifacts.append(ShownArtifact(name, size, digest, _text_of(data)))
    artifacts += [
        ShownArtifact(name, number(item, "bytes"), text(item, "sha256"), None)
        for name, item in list(named.items())[:MAX_SHOWN_ARTIFACTS]
    ]
    return tuple(artifacts), log_tail


def artifact_bytes(mirror: Mirror, snapshot: Snapshot, row: TaskRow, name: str) -> bytes:
    """One artifact or the log tail, unmodified. Raises NotFound if there is none."""
    data = None
    if snapshot.status and (name == LOG_TAIL or is_artifact_name(name)):
        path = artifact_path(row.org, row.name, name)
        data = mirror.show(snapshot.status, path, max_bytes=MAX_RECORD_BYTES)
    if data is None:
        raise NotFound(f"{row.org}/{row.name} has no artifact {name[:80]!r}")
    return data


def read_object(data: bytes | None) -> Mapping[str, Any]:
    """Parse a JSON object; {} for anything else."""
    try:
        return parse_object(data or b"{}")
    except ValueError:
        return {}


def _blob(mirror: Mirror, blob: str, max_bytes: int) -> bytes | None:
    return next(data for _, _, data in mirror.read_blobs([blob], max_bytes=max_bytes))


def _text_of(data: bytes | None) -> str | None:
    if data is None or b"\0" in data:
        return None
    return hide_user_info(data.decode("utf-8", "replace"))
