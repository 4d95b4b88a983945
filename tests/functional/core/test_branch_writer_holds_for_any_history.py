"""Two writers, an unreliable remote and any order of events: nothing is lost or doubled (I6)."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guildnet.errors import GitUnavailable
from guildnet.git import BranchWriter, Mirror

ORGS = ("acme", "beta")
STEP = st.tuples(
    st.sampled_from(ORGS),
    st.sampled_from(["write", "write", "delete", "push", "crash", "outage", "end of outage"]),
    st.integers(0, 3),
)


class World:
    """A remote, and a writer for each org that touches its own folder alone."""

    def __init__(self, remote: Any, folder: Path) -> None:
        self.folder = folder
        self.remote = remote
        self.away = self.remote.path.with_suffix(".away")
        self.meant: dict[str, str] = {}
        self.tips: list[str] = []
        self.writers = {org: self.open(org) for org in ORGS}
        self.writers["acme"].create_root({"README.md": b"root"}, "root")
        self.writers["beta"].sync()

    def open(self, org: str) -> BranchWriter:
        url = str(self.remote.path)
        return BranchWriter(Mirror.open(url, self.folder / org), "status")

    def step(self, org: str, action: str, number: int) -> None:
        writer, path = self.writers[org], f"orgs/{org}/{number}.json"
        if action == "write":
            content = f"{org} {len(self.meant)} {number}"
            writer.commit({path: content.encode()}, f"write {path}")
            self.meant[path] = content
        elif action == "delete":
            writer.commit({path: None}, f"delete {path}")
            self.meant.pop(path, None)
        elif action == "push":
            with contextlib.suppress(GitUnavailable):
                self.tips.append(writer.push())
        elif action == "crash":
            writer.mirror.close()
            if not self.away.exists():
                self.writers[org] = self.open(org)
        elif action == "outage" and not self.away.exists():
            self.remote.path.rename(self.away)
        elif action == "end of outage" and self.away.exists():
            self.away.rename(self.remote.path)

    def settle(self) -> None:
        self.step("acme", "end of outage", 0)
        for org in ORGS:
            self.tips.append(self.writers[org].push())


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(STEP, max_size=14))
def test_what_was_meant_is_what_is_there(
    make_remote: Callable[[str], Any], tmp_path: Path, steps: list[tuple[str, str, int]]
) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    world = World(make_remote(f"{folder.name}/remote"), folder)
    try:
        for step in steps:
            world.step(*step)
        world.settle()
        assert world.remote.files("status") == {"README.md": "root", **world.meant}
        tip = world.remote.tip("status")
        for earlier in world.tips:
            assert world.remote.git("merge-base", earlier, tip, at=world.remote.path) == earlier
        assert world.remote.git("rev-list", "--merges", tip, at=world.remote.path) == ""
    finally:
        for writer in world.writers.values():
            writer.mirror.close()
