"""The client against a real kube-apiserver, not a fake one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from guildnet.errors import (
    KubeConflict,
    KubeError,
    KubeForbidden,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)
from guildnet.kube import (
    CONFIG_MAPS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    KubeClient,
    ResourceKind,
)

OpenClient = Callable[..., KubeClient]


def config_map(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"guildnet.io/org": "acme"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def test_apply_is_idempotent_and_names_conflicts(open_client: OpenClient) -> None:
    """I4: applying an unchanged object changes nothing; I10: a conflict names manager and field."""
    async with open_client() as client:
        first = await client.apply(config_map("a", k="1"), field_manager="one")
        again = await client.apply(config_map("a", k="1"), field_manager="one")
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        with pytest.raises(KubeConflict) as conflict:
            await client.apply(config_map("a", k="2"), field_manager="two", force=False)
        assert '"one"' in conflict.value.message
        assert ".data.k" in conflict.value.message
        dry = await client.apply(config_map("a", k="2"), field_manager="two", dry_run=True)
        assert dry["data"] == {"k": "2"}
        assert (await client.get(CONFIG_MAPS, "a"))["data"] == {"k": "1"}
        await client.apply(config_map("a", k="2"), field_manager="two")
        assert (await client.get(CONFIG_MAPS, "a"))["data"] == {"k": "2"}


async def test_unknown_fields_are_refused(open_client: OpenClient) -> None:
    async with open_client() as client:
        with pytest.raises(KubeInvalid, match="colour"):
            await client.apply({**config_map("a"), "colour": "red"}, field_manager="one")


async def test_create_replace_patch(open_client: OpenClient) -> None:
    async with open_client() as client:
        made = await client.create(config_map("a", k="1"))
        with pytest.raises(KubeConflict) as exists:
            await client.create(config_map("a"))
        assert exists.value.reason == "AlreadyExists"
        newer = await client.replace({**made, "data": {"k": "2"}})
        with pytest.raises(KubeConflict):
            await client.replace({**made, "data": {"k": "3"}})
        await client.patch(CONFIG_MAPS, "a", {"data": {"k": None, "n": "4"}})
        operations = [{"op": "add", "path": "/data/m", "value": "5"}]
        patched = await client.patch(CONFIG_MAPS, "a", operations)
        assert patched["data"] == {"n": "4", "m": "5"}
        assert newer["metadata"]["uid"] == patched["metadata"]["uid"]


async def test_delete_checks_uid_and_resource_version(open_client: OpenClient) -> None:
    """I2: another object of the same name, or a newer version, is not deleted."""
    async with open_client() as client:
        made = await client.create(config_map("a"))
        uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
        with pytest.raises(KubeConflict):
            await client.delete(CONFIG_MAPS, "a", uid="00000000-0000-0000-0000-000000000000")
        await client.patch(CONFIG_MAPS, "a", {"data": {"k": "1"}})
        with pytest.raises(KubeConflict):
            await client.delete(CONFIG_MAPS, "a", uid=uid, resource_version=version)
        await client.delete(CONFIG_MAPS, "a", uid=uid)
        assert await client.find(CONFIG_MAPS, "a") is None
        with pytest.raises(KubeNotFound):
            await client.delete(CONFIG_MAPS, "a")


async def test_a_missing_kind_is_not_a_missing_object(open_client: OpenClient) -> None:
    """I1: if the CRD is missing, its objects are not reported as missing."""
    nowhere = ResourceKind("example.org", "v1", "gadgets", "Gadget")
    async with open_client() as client:
        assert await client.find(CONFIG_MAPS, "none") is None
        with pytest.raises(KubeNotFound) as missing:
            await client.find(nowhere, "none")
        assert "guildnet org install" in (missing.value.cure or "")


async def test_paging_returns_each_object_once(open_client: OpenClient) -> None:
    async with open_client() as client:
        for number in range(7):
            await client.create(config_map(f"n{number}"))
        pages = client.list_pages(CONFIG_MAPS, label_selector="guildnet.io/org=acme", page_size=3)
        sizes = [len(page["items"]) async for page in pages]
        found = await client.list_all(CONFIG_MAPS, label_selector="guildnet.io/org=acme")
    assert sizes == [3, 3, 1]
    assert [item["metadata"]["name"] for item in found] == [f"n{n}" for n in range(7)]
    assert {item["kind"] for item in found} == {"ConfigMap"}


async def test_an_event_names_its_object(open_client: OpenClient) -> None:
    async with open_client() as client:
        made = await client.create(config_map("a"))
        await client.create_event(
            made,
            reason="Drifted",
            message="x" * 5000,
            component="guildnet-reconciler",
            warning=True,
        )
        (event,) = await client.list_all(EVENTS, field_selector="involvedObject.name=a")
    assert (event["type"], event["reason"]) == ("Warning", "Drifted")
    assert event["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert len(event["message"]) == 1024


async def test_an_existing_namespace_is_left_unchanged(
    open_client: OpenClient, namespace: str
) -> None:
    async with open_client() as client:
        found = await client.ensure_namespace(namespace, {"test": "no"})
        assert found["metadata"]["labels"]["test"] == "yes"
        assert (await client.get(NAMESPACES, namespace))["metadata"]["labels"]["test"] == "yes"


async def test_the_version_of_the_server_is_read(open_client: OpenClient) -> None:
    async with open_client() as client:
        assert (await client.version()).startswith("v1.")


async def test_an_unreachable_pod_is_an_error(open_client: OpenClient) -> None:
    """I10: a missing pod, or one without an address, raises an error."""
    async with open_client() as client:
        with pytest.raises(KubeNotFound):
            await client.proxy_request("none", 8484, "GET", "/state")
        with pytest.raises(KubeNotFound):
            await client.pod_log("none", container="work")
        container = {"name": "work", "image": "localhost/none"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
        await client.create({**pod, "spec": {"containers": [container]}})
        with pytest.raises(KubeError):
            await client.proxy_request("p", 8484, "GET", "/state")
        assert (await client.get(PODS, "p"))["metadata"]["name"] == "p"


async def test_access_without_a_credential_is_denied(
    open_client: OpenClient, control_plane: Any, tmp_path: Any
) -> None:
    """I10: a rejected credential and an unreachable server are different errors."""
    config = yaml.safe_load(control_plane.read_text())
    config["users"][0]["user"] = {"token": "wrong"}
    stranger = tmp_path / "stranger"
    stranger.write_text(yaml.safe_dump(config))
    async with KubeClient.from_kubeconfig(stranger) as client:
        with pytest.raises(KubeForbidden) as refused:
            await client.list_all(LEASES)
        assert "wrong" not in str(refused.value)
    config["clusters"][0]["cluster"].pop("certificate-authority-data")
    stranger.write_text(yaml.safe_dump(config))
    async with KubeClient.from_kubeconfig(stranger) as client:
        with pytest.raises(KubeUnavailable, match="certificate"):
            await client.version()
