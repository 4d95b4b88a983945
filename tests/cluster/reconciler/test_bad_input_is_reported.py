"""Many kinds of bad input at once: each is reported with path and cure, and affects no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"
AT_ONCE_SECONDS = 5.0


def bad_tasks(task: Callable[..., str]) -> dict[str, tuple[str, int, str]]:
    """name -> content of the file, reported line, part of the message."""
    good = task("x")
    return {
        "invalid": ("spec: {prompt: [\n", 2, "not valid YAML"),
        "unknown": (task("unknown").replace("prompt:", "promt:"), 5, "did you mean 'prompt'"),
        "misnamed": (task("other"), 3, "misnamed"),
        "twice": (task("twice") + "  prompt: again\n", 6, "duplicate key"),
        "huge": (good + "#" * (10 << 20), 0, "at most"),
        "bomb": (BOMB, 1, "anchor"),
        "lfs": (LFS, 1, "commit the file itself"),
    }


def link_and_submodule(site: Site) -> None:
    """Entries of the tree that are no regular files."""
    (site.repo.work / "tasks/acme/link.yaml").symlink_to("/etc/hostname")
    commit = site.repo.git("rev-parse", "HEAD")
    site.repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},tasks/acme/sub.yaml")
    (site.repo.work / "tasks/acme/sub.yaml").mkdir()


def dead_kubeconfig(folder: Path) -> None:
    """A well-formed kubeconfig for a server that does not exist."""
    config = yaml.safe_load((folder / "acme.config").read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    (folder / "dead.config").write_text(yaml.safe_dump(config))


def by_path(org: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {entry["path"]: entry for entry in org.get("quarantined", ())}


async def test_each_is_told_with_its_place_and_nothing_else_notices(
    site: Site, files: Files
) -> None:
    """I1, I3, I9, I10."""
    org, task = files
    dead_kubeconfig(site.settings.state_dir / "kube")
    good = {name: task(name) for name in ("stays", "turns")}
    site.repo.commit(
        {
            "orgs/acme.yaml": org(namespace=site.namespace),
            **{f"tasks/acme/{name}.yaml": content for name, content in good.items()},
        }
    )
    async with site.run():
        before = {name: await site.until_task(name, bool) for name in good}
        bad = bad_tasks(task)
        for name, (content, _, _) in bad.items():
            (site.repo.work / f"tasks/acme/{name}.yaml").write_text(content)
        link_and_submodule(site)
        committed = time.monotonic()
        site.repo.commit(
            {
                "tasks/acme/turns.yaml": "kind: [Task\n",
                "tasks/acme/fresh.yaml": task("fresh"),
                "tasks/acme/Upper_Case.yaml": task("x"),
                "orgs/nokube.yaml": org("nokube", namespace="agents"),
                "orgs/dead.yaml": org("dead", namespace="agents"),
                "tasks/nokube/waits.yaml": task("waits"),
                "tasks/dead/waits.yaml": task("waits"),
            }
        )
        await site.until_task("fresh", bool)
        assert time.monotonic() - committed < AT_ONCE_SECONDS

        wanted = {f"tasks/acme/{name}.yaml" for name in (*bad, "turns", "link", "sub")}
        reported = by_path(await site.until_org(lambda org: by_path(org).keys() >= wanted))
        assert reported.keys() == wanted
        for name, (_, line, words) in bad.items():
            entry = reported[f"tasks/acme/{name}.yaml"]
            assert (entry["line"], words in entry["message"]) == (line, True), entry
        assert "never followed" in reported["tasks/acme/link.yaml"]["message"]
        assert "submodule" in reported["tasks/acme/sub.yaml"]["message"]
        assert reported["tasks/acme/turns.yaml"]["lastGoodBlob"]
        faults = site.repo.status("orgs/acme/org.json")["faults"]
        (misplaced,) = [fault for fault in faults if fault["reason"] == "Misplaced"]
        assert "tasks/acme/Upper_Case.yaml" in misplaced["message"]

        for name, words in (
            ("nokube", "guildnet org add nokube"),
            ("dead", "check that the cluster is running"),
        ):
            found = await site.until_status(
                f"../{name}/org.json", lambda org: org.get("cluster", {}).get("cure")
            )
            assert found["cluster"]["reachable"] is False
            assert words in found["cluster"]["cure"]

        assert await site.names() == {"stays", "turns", "fresh"}
        for name, obj in before.items():
            now = await site.task(name)
            assert now is not None
            assert now["metadata"]["uid"] == obj["metadata"]["uid"]
            assert now["spec"] == obj["spec"]

        site.repo.commit({"tasks/acme/turns.yaml": task("turns", "mended")})
        await site.until_task("turns", lambda obj: obj["spec"]["prompt"] == "mended")
