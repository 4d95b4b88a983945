"""The inputs of an image: the files that a Dockerfile's target copies, and their digest.

They are read from the Dockerfile itself, so no second list has to be maintained.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template


def copied_paths(dockerfile: str, target: str) -> tuple[str, ...]:
    """The paths of the build context that `target` copies, directly or through other stages.

    `dockerfile` is the file's text; its global ARGs have their defaults. Sorted and unique.
    Raises KeyError if no stage has this name.
    """
    stages = _stages(Template(dockerfile).safe_substitute(_global_arguments(dockerfile)))
    paths: set[str] = set()
    pending, seen = [target], {target}
    while pending:
        stage = stages[pending.pop()]
        paths |= stage.paths
        fresh = {name for name in (stage.base, *stage.copied) if name in stages} - seen
        seen |= fresh
        pending += fresh
    return tuple(sorted(paths))


def copied_stages(dockerfile: str, target: str) -> tuple[str, ...]:
    """The stages that `target` copies from directly, sorted. Raises KeyError if it is unknown."""
    return tuple(sorted(_stages(dockerfile)[target].copied))


def inputs_digest(root: Path, paths: Iterable[str], *options: str) -> str:
    """Twelve hex digits over the files below `paths` in `root`, and over `options`."""
    whole = hashlib.sha256()
    for option in options:
        whole.update(option.encode() + b"\0")
    for path in paths:
        for file in _files(root / path):
            name = file.relative_to(root).as_posix()
            executable = b"x" if file.stat().st_mode & 0o100 else b"-"
            content = hashlib.sha256(file.read_bytes()).digest()
            whole.update(name.encode() + b"\0" + executable + content)
    return whole.hexdigest()[:12]


def _global_arguments(dockerfile: str) -> dict[str, str]:
    """The ARGs before the first FROM; only these can be used in a FROM."""
    head = dockerfile.partition("\nFROM ")[0]
    words = (line.split(maxsplit=1) for line in head.splitlines())
    arguments = (
        found[1].partition("=") for found in words if len(found) == 2 and found[0] == "ARG"
    )
    return {name: value for name, _, value in arguments}


@dataclass(slots=True)
class _Stage:
    base: str
    #: Paths of the build context.
    paths: set[str] = field(default_factory=set)
    #: Stages or images that it copies from.
    copied: set[str] = field(default_factory=set)


def _stages(dockerfile: str) -> dict[str, _Stage]:
    stages: dict[str, _Stage] = {}
    current = _Stage("")
    for words in _instructions(dockerfile):
        if words[0] == "FROM":
            name = words[3] if len(words) == 4 else str(len(stages))
            current = stages[name] = _Stage(base=words[1])
        elif words[0] in ("COPY", "ADD"):
            options = [word for word in words[1:] if word.startswith("--")]
            origins = {word.partition("=")[2] for word in options if word.startswith("--from=")}
            if origins:
                current.copied |= origins
            else:
                current.paths.update(words[1 + len(options) : -1])
    return stages


def _instructions(dockerfile: str) -> Iterator[list[str]]:
    lines = (line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        keyword = line.split(maxsplit=1)[:1]
        if keyword and keyword[0].upper() in ("FROM", "COPY", "ADD"):
            words = shlex.split(line)
            yield [words[0].upper(), *words[1:]]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in found if "__pycache__" not in file.parts)
