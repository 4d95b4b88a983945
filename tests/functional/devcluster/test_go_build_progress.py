"""The progress of a compile, with a stub for `go`."""

from __future__ import annotations

from pathlib import Path

import pytest

from guildnet_devcluster.go_build import Build, BuildFailed, compile_to

GO = """\
#!/bin/sh
case "$1" in
list) printf 'a.example/x\\nruntime\\n\\na.example/y\\n'; exit {listed} ;;
build) printf 'go: downloading a.example/x v1\\nruntime\\na.example/x\\na.example/y\\n' >&2
  echo "${{@}}" > args
  echo 'x.go:3: undefined: y' >&2; exit {built} ;;
esac
"""


class Counted:
    def __init__(self) -> None:
        self.counts: list[tuple[int, int, str]] = []

    def count(self, done: int, total: int, unit: str) -> None:
        self.counts.append((done, total, unit))


def build_with(folder: Path, *, listed: int = 0, built: int = 0) -> Build:
    go = folder / "go"
    go.write_text(GO.format(listed=listed, built=built))
    go.chmod(0o755)
    return Build(
        go=go, module=folder, environment={}, flags=("-trimpath",), packages=("a.example/x",)
    )


def test_packages_are_counted_as_they_are_compiled(tmp_path: Path) -> None:
    step = Counted()
    compile_to(build_with(tmp_path), tmp_path / "out", step)
    assert step.counts == [(done, 3, "packages") for done in range(4)]
    arguments = (tmp_path / "args").read_text()
    assert arguments == f"build -v -trimpath -o {tmp_path}/out a.example/x\n"


def test_unknown_count_is_not_shown(tmp_path: Path) -> None:
    step = Counted()
    compile_to(build_with(tmp_path, listed=1), tmp_path / "out", step)
    assert step.counts == []


def test_failure_shows_messages_without_package_names(tmp_path: Path) -> None:
    """I10: the error contains the messages of `go`."""
    with pytest.raises(BuildFailed) as failure:
        compile_to(build_with(tmp_path, built=1), tmp_path / "out", Counted())
    lines = str(failure.value).splitlines()
    assert lines == ["go: downloading a.example/x v1", "x.go:3: undefined: y"]
