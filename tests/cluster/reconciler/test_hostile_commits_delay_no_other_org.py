"""Whatever one org commits, its good tasks and the other orgs' are applied as soon as ever."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from guildnet import labels
from guildnet.kube import AGENT_TASKS, KubeClient

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]

HEAD = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: %s}\nspec:\n  prompt: x\n"
WORST = {
    "empty contexts": "  context: [" + "{}," * 80_000 + "]\n",
    "nearly too many values": "  context: [" + "{}," * 4_900 + "]\n" + "# " + "x" * 200_000 + "\n",
    "unknown fields": "".join(f"  contex{n}: 1\n" for n in range(2_000)),
    "directives": "%TAG !a! b\n" * 20_000 + "---\n",
}


@pytest.fixture
async def globex(site: Site, files: Files) -> AsyncIterator[KubeClient]:
    """A second org, in another namespace, with one task."""
    namespace = f"{site.namespace}-globex"
    shutil.copy(site.kubeconfig, site.kubeconfig.with_name("globex.config"))
    async with KubeClient.from_kubeconfig(site.kubeconfig, namespace=namespace) as client:
        await client.ensure_namespace(namespace, {labels.APP_NAME: "test"})
        site.repo.commit(
            {
                "orgs/globex.yaml": files[0]("globex", namespace=namespace),
                "tasks/globex/first.yaml": files[1]("first"),
                "orgs/acme.yaml": files[0](namespace=site.namespace),
                "tasks/acme/first.yaml": files[1]("first"),
            }
        )
        yield client


async def seconds_until(client: KubeClient, *names: str) -> float:
    began = time.monotonic()
    async with asyncio.timeout(30):
        while not set(names) <= {o["metadata"]["name"] for o in await client.list_all(AGENT_TASKS)}:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("kind", WORST)
async def test_sixty_four_of_the_worst_files(
    site: Site, files: Files, globex: KubeClient, kind: str
) -> None:
    """I3: at most about a second later than without them; and each is quarantined."""
    _, task = files
    async with site.run():
        await seconds_until(site.client, "first")
        await seconds_until(globex, "first")
        site.repo.commit({"tasks/acme/z1.yaml": task("z1"), "tasks/globex/z1.yaml": task("z1")})
        quiet = max(
            await asyncio.gather(seconds_until(site.client, "z1"), seconds_until(globex, "z1"))
        )
        text = WORST[kind]
        bad = {
            f"tasks/acme/b{n:02}.yaml": (text + HEAD % f"b{n:02}")
            if text.startswith("%")
            else HEAD % f"b{n:02}" + text
            for n in range(64)
        }
        good = {f"tasks/{org}/z2.yaml": task("z2") for org in ("acme", "globex")}
        site.repo.commit({**bad, **good})
        busy = max(
            await asyncio.gather(seconds_until(site.client, "z2"), seconds_until(globex, "z2"))
        )
        # Fetching 64 files takes a while too, on a machine that runs other tests.
        assert busy < 2 * quiet + 2.0
        found = await site.until_org(lambda org: org.get("counts", {}).get("quarantined") == 64)
        assert {entry["path"] for entry in found["quarantined"]} == set(bad)
        other = site.repo.status("orgs/globex/org.json") or {}
        assert not other.get("quarantined")
        assert not other.get("faults")


async def test_a_tree_bomb_a_long_message_and_a_misplaced_file(
    site: Site, files: Files, globex: KubeClient
) -> None:
    """I3, I10: the other org's change is applied, and only acme's record has the fault."""
    _, task = files
    async with site.run():
        await seconds_until(globex, "first")
        git = site.repo.git
        tree = git("rev-parse", "HEAD:tasks/globex")
        for _ in range(12):
            lines = "".join(f"040000 tree {tree}\tn{n}\n" for n in range(10))
            tree = site.repo.made(lines)
        acme = site.repo.made(f"{git('ls-tree', 'HEAD:tasks/acme')}\n040000 tree {tree}\tbomb\n")
        blob = git("rev-parse", "HEAD:tasks/globex/first.yaml")
        more = f"{git('ls-tree', 'HEAD:tasks/globex')}\n100644 blob {blob}\tsecond.yml\n"
        (site.repo.work / "tasks/globex/second.yaml").write_text(task("second"))
        second = git("hash-object", "-w", "tasks/globex/second.yaml")
        other = site.repo.made(f"{more}100644 blob {second}\tsecond.yaml\n")
        tasks = site.repo.made(f"040000 tree {acme}\tacme\n040000 tree {other}\tglobex\n")
        orgs = git("rev-parse", "HEAD:orgs")
        root = site.repo.made(f"040000 tree {orgs}\torgs\n040000 tree {tasks}\ttasks\n")
        words = site.repo.work.parent / "message"
        words.write_text("long\n\n" + "words " * 350_000)
        commit = git("commit-tree", root, "-p", "HEAD", "-F", str(words))
        git("push", "-q", "origin", f"{commit}:main")
        assert await seconds_until(globex, "second") < 20
        found = await site.until_org(lambda org: org.get("faults"))
        assert ["tasks/acme/bomb" in fault["message"] for fault in found["faults"]] == [True]
        second_org = await site.until_status("../globex/org.json", lambda org: org.get("faults"))
        faults = second_org["faults"]
        assert ["tasks/globex/second.yml" in fault["message"] for fault in faults] == [True]


async def test_a_cluster_does_not_choose_what_stays_in_force(
    site: Site, files: Files, globex: KubeClient
) -> None:
    """I8: a bad file falls back to what the source branch held at its own path, not to a blob that
    the cluster's annotations name."""
    _, task = files
    secret = site.repo.commit({"tasks/globex/secret.yaml": task("first", "private words")})
    blob = site.repo.git("rev-parse", f"{secret}:tasks/globex/secret.yaml")
    async with site.run():
        await seconds_until(site.client, "first")
        lie = {labels.SOURCE_BLOB: blob, labels.SOURCE_REVISION: secret}
        await site.client.patch(AGENT_TASKS, "first", {"metadata": {"annotations": lie}})
        site.repo.commit({"tasks/acme/first.yaml": "prompt: [", "tasks/acme/z.yaml": task("z")})
        found = await site.until_org(lambda org: org.get("quarantined"))
        await seconds_until(site.client, "z")
        assert "lastGoodBlob" not in found["quarantined"][0] or (
            found["quarantined"][0]["lastGoodBlob"] != blob
        )
        obj = await site.task("first")
        assert obj is not None
        assert obj["spec"]["prompt"] == "do it"
