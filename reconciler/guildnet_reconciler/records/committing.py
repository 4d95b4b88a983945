"""Commits batches of records. A record that git refuses is dropped alone (I3)."""

from __future__ import annotations

import logging

from guildnet.errors import GitUnavailable
from guildnet.git import BranchWriter
from guildnet_reconciler.records.batch import Batch, Subject

log = logging.getLogger(__name__)

MAX_TRIED_APART = 8
"""If so many records fail alone and none succeeds, git is at fault and not a record."""


class BatchCommitter:
    """Makes the commits of the status branch. `source_revision` goes into their trailer."""

    def __init__(self, writer: BranchWriter) -> None:
        self.source_revision = ""
        self.commits = 0
        self._writer = writer

    def write(self, batch: Batch) -> dict[Subject, str]:
        """Commit the batch; return the subjects that had to be left out, and why. Blocks.

        Raises where nothing could be committed.
        """
        try:
            self._commit(batch)
            return {}
        except GitUnavailable:
            raise
        except Exception as error:
            refused = self._write_by_halves(batch) if len(batch.subjects) > 1 else None
            if refused is None:
                raise
            log.warning("a part of the status was dropped: %s", type(error).__name__)
            return refused

    def _write_by_halves(self, batch: Batch) -> dict[Subject, str] | None:
        """Halve the batch until the refused subjects are found; None if nothing was committed."""
        refused: dict[Subject, str] = {}
        waiting = [sorted(batch.subjects)]
        is_written = False
        while waiting:
            subjects = waiting.pop()
            try:
                self._commit(batch.only(subjects))
                is_written = True
            except Exception as error:
                if len(subjects) > 1:
                    half = len(subjects) // 2
                    waiting += [subjects[:half], subjects[half:]]
                    continue
                refused[subjects[0]] = f"git does not accept it: {type(error).__name__}"
                if not is_written and len(refused) >= MAX_TRIED_APART:
                    return None
        return refused if is_written else None

    def _commit(self, batch: Batch) -> None:
        if batch.files:
            before = self._writer.tip
            after = self._writer.commit(batch.files, batch.message(self.source_revision))
            self.commits += before != after
