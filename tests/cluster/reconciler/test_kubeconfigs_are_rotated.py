"""Kubeconfigs change while the reconciler runs: in their folder, and in labelled Secrets."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cluster.reconciler.conftest import eventually

from guildnet import labels
from guildnet.kube import SECRETS, KubeClient
from guildnet_reconciler.triggers.kubeconfig_secrets import KubeconfigSecrets

if TYPE_CHECKING:
    from tests.cluster.reconciler.conftest import Site

Files = tuple[Callable[..., str], Callable[..., str]]
_numbers = itertools.count(1)


async def test_a_replaced_file_is_used_without_a_restart(site: Site, files: Files) -> None:
    """The next commit goes through the new address, and through the old one once it is back."""
    org, task = files
    site.repo.commit({"orgs/acme.yaml": org(namespace=site.namespace)})
    async with site.run():
        await site.until_org(lambda record: record.get("applied"))
        async with site.behind_a_proxy() as proxy:
            site.repo.commit({"tasks/acme/one.yaml": task("one")})
            await site.until_task("one", bool)
            await eventually(lambda: _value(proxy.reads), what="requests through the new address")
            assert any("/agenttasks" in path for _, path in proxy.writes)
        site.repo.commit({"tasks/acme/two.yaml": task("two")})
        await site.until_task("two", bool)


async def test_a_removed_file_stops_the_org_and_deletes_nothing(site: Site, files: Files) -> None:
    """I1, I10"""
    org, task = files
    site.repo.commit(
        {"orgs/acme.yaml": org(namespace=site.namespace), "tasks/acme/one.yaml": task("one")}
    )
    async with site.run():
        await site.until_task("one", bool)
        await site.until_org(lambda record: record.get("applied"))
        content = site.kubeconfig.read_bytes()
        site.kubeconfig.unlink()
        found = await site.until_org(lambda record: not record["cluster"]["reachable"])
        assert "the kubeconfig 'acme' is missing" in found["cluster"]["message"]
        assert await site.names() == {"one"}
        site.kubeconfig.write_bytes(content)
        await site.until_org(lambda record: record["cluster"]["reachable"])


async def _value(value: Any) -> Any:
    return value


@pytest.fixture
async def beside(control_plane: Path) -> AsyncIterator[KubeClient]:
    """A client of the reconciler's own namespace."""
    namespace = f"control-plane-{next(_numbers)}"
    async with KubeClient.from_kubeconfig(control_plane, namespace=namespace) as client:
        await client.ensure_namespace(namespace, {})
        yield client


@asynccontextmanager
async def followed(control_plane: Path, namespace: str, folder: Path) -> AsyncIterator[None]:
    """The Secrets of a namespace, followed until the block ends, and listed when it begins."""
    secrets = KubeconfigSecrets(
        lambda: KubeClient.from_kubeconfig(control_plane, namespace=namespace), folder
    )
    running = asyncio.create_task(secrets.run())
    try:
        async with asyncio.timeout(20):
            await secrets.wait_synced()
        assert secrets.problem is None
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_labelled_secrets_are_followed(
    beside: KubeClient, control_plane: Path, tmp_path: Path
) -> None:
    """Also what happens while nobody follows; a file that only its owner can read."""
    folder = tmp_path / "kube"

    def stored() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("*.config")}

    async def until(wanted: dict[str, bytes]) -> None:
        await eventually(lambda: _value(stored() == wanted), what=f"{wanted}, not {stored()}")

    await beside.create(secret("acme", {"kubeconfig": b"1"}))
    await beside.create(secret("globex", {"value": b"of Cluster API"}))
    await beside.create(secret("forge", {"kubeconfig": b"x"}, use="git"))
    async with followed(control_plane, beside.namespace, folder):
        assert stored() == {"acme.config": b"1", "globex.config": b"of Cluster API"}
        assert {path.stat().st_mode & 0o777 for path in folder.glob("*")} == {0o600}
        await beside.patch(SECRETS, "acme", secret("acme", {"kubeconfig": b"2"}))
        await until({"acme.config": b"2", "globex.config": b"of Cluster API"})
        await beside.delete(SECRETS, "globex")
        await until({"acme.config": b"2"})
    await beside.delete(SECRETS, "acme")
    await beside.create(secret("initech", {"kubeconfig": b"3"}))
    async with followed(control_plane, beside.namespace, folder):
        assert stored() == {"initech.config": b"3"}


async def test_secrets_without_a_kubeconfig_are_named(
    beside: KubeClient, control_plane: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """I8, I9, I10: neither a path nor a value comes from a Secret's name or content."""
    await beside.create(secret("acme", {"token": b"sesame"}))
    await beside.create(secret("a.b", {"kubeconfig": b"sesame"}))
    await beside.create(secret("globex", {"kubeconfig": b"good"}))
    async with followed(control_plane, beside.namespace, tmp_path):
        assert names_in(tmp_path) == ["globex.config"]
    assert "Secret acme holds no kubeconfig: it needs the key kubeconfig or value" in caplog.text
    assert "Secret a.b holds no kubeconfig: the name" in caplog.text
    assert "sesame" not in caplog.text


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def secret(name: str, data: dict[str, bytes], *, use: str = "kubeconfig") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {labels.USE: use}},
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }
