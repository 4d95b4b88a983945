"""Files are loaded in chunks of a bounded cost, small ones first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guildnet_reconciler.source.index import SourceFile
from guildnet_reconciler.steps.chunks import MAX_FILES, chunks_of
from guildnet_reconciler.steps.load import MAX_BATCH_BYTES


def files_of(sizes: list[int]) -> tuple[dict[str, SourceFile], dict[str, int]]:
    names = [f"t{n}" for n in range(len(sizes))]
    files = {name: SourceFile(f"tasks/acme/{name}.yaml", f"blob {name}") for name in names}
    return files, {f"blob {name}": size for name, size in zip(names, sizes, strict=True)}


@given(st.lists(st.sampled_from([0, 1, 500, 20_000, 65_536, 262_144]), max_size=200))
def test_each_file_is_in_one_chunk_and_no_chunk_is_expensive(sizes: list[int]) -> None:
    files, by_blob = files_of(sizes)
    chunks = list(chunks_of(files, by_blob))
    order = [name for chunk in chunks for name in chunk]
    assert sorted(order) == sorted(files)
    costs = [by_blob[files[name].blob] for name in order]
    assert costs == sorted(costs)
    for chunk in chunks:
        total = sum(by_blob[file.blob] for file in chunk.values())
        assert len(chunk) == 1 or (len(chunk) <= MAX_FILES and total <= MAX_BATCH_BYTES)


def test_a_good_task_is_not_behind_expensive_ones() -> None:
    files, sizes = files_of([262_144] * 64 + [300])
    first = next(chunks_of(files, sizes))
    assert "t64" in first
    assert len(first) == 1


def test_a_blob_of_unknown_size_is_loaded_too() -> None:
    files, _ = files_of([1, 2])
    assert list(chunks_of(files, {})) == [files]
