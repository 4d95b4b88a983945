"""How the files of a pass are divided for loading: small ones first, a bounded cost at once. Pure.

What a file costs grows with its size at worst. So files that are expensive delay neither a good
task of the same org, which is loaded, planned and applied before them, nor another org, whose
loading has its turn after each chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.load import MAX_BATCH_BYTES

MAX_FILES = 64
"""Of a first sync no more is in memory than is applied and comes next."""


def chunks_of(
    files: Mapping[str, SourceFile], sizes: Mapping[str, int]
) -> Iterator[dict[str, SourceFile]]:
    """The files by name, in chunks; `sizes` maps a blob to its bytes, 0 where it is not known."""
    chunk: dict[str, SourceFile] = {}
    total = 0
    for name in sorted(files, key=lambda name: sizes.get(files[name].blob, 0)):
        size = sizes.get(files[name].blob, 0)
        if chunk and (len(chunk) == MAX_FILES or total + size > MAX_BATCH_BYTES):
            yield chunk
            chunk, total = {}, 0
        chunk[name] = files[name]
        total += size
    if chunk:
        yield chunk
