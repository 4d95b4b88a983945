"""Step 4, load: blobs to resources. A bad file quarantines its one object, nothing else.

The last good blob of a quarantined file stays in force, so that a typo neither deletes nor
freezes what runs (I1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from guildnet.errors import Problem
from guildnet.loading import MAX_FILE_BYTES, load_org, load_task, parse_path
from guildnet.record import OrgRecord
from guildnet.resources import Org, Source, Task
from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.validation.verdict import Load, R, Validate, Verdict, validate_here

MAX_RECORDED = 3
"""Problems of one file that its org's record lists."""
MAX_BATCH_BYTES = 64 * 1024
"""Of files that are validated in one call: at worst about 100 ms of CPU."""

BlobReader = Callable[[Iterable[str]], Iterator[tuple[str, int, bytes | None]]]
"""(id, size, content) in the order asked; content is None where it is too large."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A bad file: its problems, and the blob that stays in force until it is repaired."""

    blob: str
    problems: tuple[Problem, ...]
    last_good: str | None = None

    def to_json(self) -> list[dict[str, object]]:
        """The first problems as the record holds them: it has to hold those of many files."""
        good = {"lastGoodBlob": self.last_good} if self.last_good else {}
        shown = list(self.problems[:MAX_RECORDED])
        if len(self.problems) > len(shown):
            more = f"{len(self.problems) - len(shown)} more problems; see `guildnet validate`"
            shown.append(Problem(self.problems[0].path, 0, more))
        return [{**problem.to_json(), **good} for problem in shown]


def quarantined_in(record: OrgRecord) -> tuple[Quarantined | None, dict[str, Quarantined]]:
    """The quarantine that a record lists: of the org's own file, and of tasks by name."""
    of_org: Quarantined | None = None
    of_tasks: dict[str, Quarantined] = {}
    for entry in record.quarantined:
        problem = Problem(entry.get("path", ""), entry.get("line", 0), entry.get("message", ""))
        bad = Quarantined("", (problem,), entry.get("lastGoodBlob"))
        identity = parse_path(problem.path)
        if identity is None:
            continue
        if identity.task is None:
            of_org = bad
        else:
            of_tasks[identity.task] = bad
    return of_org, of_tasks


@dataclass
class Loaded:
    """Tasks by name, good files and last good ones alike, and the files that are bad."""

    tasks: dict[str, Task] = field(default_factory=dict)
    quarantined: dict[str, Quarantined] = field(default_factory=dict)


def load_tasks(
    files: Mapping[str, SourceFile],
    last_good: Callable[[Iterable[str]], Mapping[str, str]],
    revision: str,
    read: BlobReader,
    validate: Validate = validate_here,
) -> Loaded:
    """Every task in `files` (by name); `last_good` finds the blobs to fall back to for the names
    of those that are bad."""
    loaded = Loaded()
    bad: dict[str, tuple[Problem, ...]] = {}
    for name, (result, problems) in _verdicts(files, revision, read, load_task, validate):
        if result is not None:
            loaded.tasks[name] = result
        else:
            bad[name] = problems
    good = last_good(bad) if bad else {}
    for name, problems in bad.items():
        loaded.quarantined[name] = Quarantined(files[name].blob, problems, good.get(name))
    fallbacks = {
        name: SourceFile(files[name].path, quarantined.last_good)
        for name, quarantined in loaded.quarantined.items()
        if quarantined.last_good is not None and quarantined.last_good != quarantined.blob
    }
    for name, (result, _) in _verdicts(fallbacks, revision, read, load_task, validate):
        if result is not None:
            loaded.tasks[name] = result
    return loaded


def load_org_file(
    file: SourceFile,
    last_good: str | None,
    revision: str,
    read: BlobReader,
    validate: Validate = validate_here,
) -> tuple[Org | None, Quarantined | None]:
    """The org in force, if any, and what is wrong with its file, if anything."""
    name = "org"
    (_, (org, problems)) = next(_verdicts({name: file}, revision, read, load_org, validate))
    if org is not None:
        return org, None
    bad = Quarantined(file.blob, problems, last_good)
    if last_good is None or last_good == file.blob:
        return None, bad
    fallback = {name: SourceFile(file.path, last_good)}
    (_, (org, _)) = next(_verdicts(fallback, revision, read, load_org, validate))
    return org, bad


def _verdicts(
    files: Mapping[str, SourceFile],
    revision: str,
    read: BlobReader,
    load: Load[R],
    validate: Validate,
) -> Iterator[tuple[str, Verdict[R]]]:
    readable: dict[str, SourceFile] = {}
    for name, file in files.items():
        if file.problem is None:
            readable[name] = file
        else:
            yield name, (None, (Problem(file.path, 0, file.problem),))
    batch: dict[str, tuple[Source, bytes]] = {}
    total = 0
    contents = read([file.blob for file in readable.values()])
    for (name, file), (_, size, content) in zip(readable.items(), contents, strict=True):
        if content is None:
            message = f"{size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
            yield name, (None, (Problem(file.path, 0, message),))
            continue
        if batch and total + size > MAX_BATCH_BYTES:
            yield from zip(batch, validate(load, [*batch.values()]), strict=True)
            batch, total = {}, 0
        batch[name] = Source(file.path, file.blob, revision), content
        total += size
    yield from zip(batch, validate(load, [*batch.values()]), strict=True)
