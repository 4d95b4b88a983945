"""The org in force: from its file, the file's last good version, or its record."""

from __future__ import annotations

from guildnet.loading import MAX_FILE_BYTES
from guildnet.outcome import Stalled
from guildnet.record import OrgRecord
from guildnet.resources import Org, Source, org_path
from guildnet_reconciler.capacity.threads import ThreadShare
from guildnet_reconciler.capacity.validation import ValidationShare
from guildnet_reconciler.faults import DONE, Fault, StepResult
from guildnet_reconciler.records.location import location_of
from guildnet_reconciler.records.org_records import OrgRecords
from guildnet_reconciler.source.org_source import OrgSource, SourceTree
from guildnet_reconciler.steps.load import Quarantined, load_org_file, quarantined_in


class OrgFile:
    """`orgs/<org>.yaml` as the passes see it.

    `org` is the org in force, `quarantine` why its file is not. `orphans` counts the tasks of an
    org that has no file and no record. `is_missing` says whether the file is gone.
    """

    def __init__(
        self, name: str, tree: SourceTree, threads: ThreadShare, validation: ValidationShare
    ) -> None:
        self.org: Org | None = None
        self.quarantine: Quarantined | None = None
        self.orphans = 0
        self.is_missing = False
        self._name = name
        self._tree = tree
        self._threads = threads
        self._validation = validation

    @property
    def in_force(self) -> Org:
        """The org, after `load` was done."""
        assert self.org is not None
        return self.org

    def remember(self, record: OrgRecord) -> None:
        """Take over what an earlier process recorded."""
        self.quarantine = quarantined_in(record)[0] or self.quarantine

    def is_gone(self, source: OrgSource, records: OrgRecords) -> bool:
        """Whether only tombstones are left of the org: no file, no location, no task."""
        has_location = self.org is not None or location_of(records.org) is not None
        return source.org_file is None and not (
            has_location or source.remaining or records.recorded or records.unreadable
        )

    def forget(self) -> None:
        """The org is gone."""
        self.org, self.orphans, self.is_missing = None, 0, True

    async def load(
        self, source: OrgSource, record: OrgRecord | None, attempted: str | None
    ) -> StepResult:
        """Put the org in force into `org`.

        Where its file is bad and no good version is known, the file of the revision `attempted`
        is in force: the reconciler may have been down when the file became bad.
        """
        file = source.org_file
        self.orphans, self.is_missing = 0, file is None
        if file is None:
            return self._without_file(source, record)
        known = self.quarantine.blob if self.quarantine else None
        if self.org is not None and file.blob in (self.org.source.blob, known):
            if file.blob == self.org.source.blob:
                self.quarantine = None
            return DONE
        good = self.org.source.blob if self.org else None
        if good is None and self.quarantine is not None:
            good = self.quarantine.last_good
        if good is None and attempted is not None:
            good = await self._threads.run(self._blob_in, attempted)
        size = await self._threads.run(self._size_of, file.blob)
        org, self.quarantine = await self._validation.run(
            [size],
            load_org_file,
            file,
            good,
            source.revision,
            lambda ids: self._tree.mirror.read_blobs(ids, max_bytes=MAX_FILE_BYTES),
        )
        if org is None:
            problems = self.quarantine.problems if self.quarantine else ()
            # The record lists the problems under `quarantined`.
            return StepResult(Stalled("OrgInvalid", "; ".join(map(str, problems))))
        self.org = org
        return DONE

    def _size_of(self, blob: str) -> int:
        found = self._tree.mirror.lookup(blob)
        return found.size if found is not None else 0

    def _blob_in(self, revision: str) -> str | None:
        mirror = self._tree.mirror
        if mirror.resolve(revision) is None:
            return None
        found = mirror.lookup(f"{revision}:{org_path(self._name)}")
        return found.id if found is not None and found.type == "blob" else None

    def _without_file(self, source: OrgSource, record: OrgRecord | None) -> StepResult:
        """An org whose file is gone is known from its record; its tasks are kept (I1)."""
        location, path = location_of(record), org_path(self._name)
        self.quarantine = None
        if self.org is None and location is None:
            self.orphans = source.remaining
            message = f"{path} is missing, but {source.remaining} tasks belong to it: add the file"
            return StepResult.stalled(Fault("OrgMissing", message))
        if self.org is None and location is not None:
            self.org = Org(self._name, location, {}, Source(path))
        return DONE
