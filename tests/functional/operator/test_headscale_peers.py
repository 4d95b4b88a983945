"""The operator on a real Headscale: keys, real peers that join with them, and their removal."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from guildnet.errors import MeshError, MeshRefused, MeshUnavailable
from guildnet.mesh import default_tag, user_name
from guildnet_devcluster.mesh import Mesh
from guildnet_devcluster.mesh_client import MeshClient
from guildnet_operator.mesh import api as api_module
from guildnet_operator.mesh.control_server import Peer
from guildnet_operator.mesh.headscale import Headscale
from guildnet_operator.mesh.ownership import Owner, without_pod
from guildnet_operator.mesh.tailscale import Tailscale

LIFETIME = timedelta(minutes=10)


def headscale(mesh: Mesh, org: str, namespace_uid: str = "uid") -> Headscale:
    user = user_name(org, namespace_uid)
    return Headscale(mesh.login_server, mesh.api_key.read_text(), user, mesh.ca.read_text())


async def joined(mesh: Mesh, server: Headscale, name: str, org: str) -> MeshClient:
    """A real peer that joined with a key of the operator's; its tailscaled is stopped again."""
    key = await server.make_key(name, [default_tag(org)], LIFETIME)
    client = await asyncio.to_thread(mesh.join, name, key.value, proxy_port=0)
    await asyncio.to_thread(client.stop)
    return client


async def test_a_key_is_for_one_tagged_ephemeral_peer_and_ends_soon(mesh_server: Mesh) -> None:
    server = headscale(mesh_server, "keys")
    key = await server.make_key("one-keys", [default_tag("keys")], LIFETIME)
    assert key.value not in repr(key)
    assert abs(key.expires_at - datetime.now(UTC) - LIFETIME) < timedelta(minutes=1)
    admin = mesh_server.admin()
    (listed,) = admin.auth_keys(admin.ensure_user(user_name("keys", "uid")))
    assert (listed["reusable"], listed["ephemeral"], listed["aclTags"]) == (
        False, True, ["tag:guildnet-keys"],
    )  # fmt: skip


async def test_the_first_keys_of_an_org_can_be_made_at_once(mesh_server: Mesh) -> None:
    """Its user does not exist yet, and can be made only once."""
    server = headscale(mesh_server, "first")
    made = (server.make_key(f"{n}-first", [default_tag("first")], LIFETIME) for n in range(5))
    assert len({key.id for key in await asyncio.gather(*made)}) == 5


async def test_a_peer_is_listed_and_removed(mesh_server: Mesh) -> None:
    server = headscale(mesh_server, "listed")
    assert await server.peers() == ()
    await joined(mesh_server, server, "fix-listed", "listed")
    (peer,) = await server.peers()
    assert (peer.hostname, peer.tags) == ("fix-listed", ("tag:guildnet-listed",))
    assert peer.owner == user_name("listed", "uid")
    await server.remove(peer)
    assert await server.peers() == ()
    await server.remove(peer)  # twice is no error


async def test_foreign_peers_are_nobodys_orphans(mesh_server: Mesh) -> None:
    """I2: a person's peer of the same name and tag, and the peers of an org of the same name in
    another cluster, stay."""
    mine, theirs = headscale(mesh_server, "two", "here"), headscale(mesh_server, "two", "there")
    admin = mesh_server.admin()
    person = admin.create_auth_key(admin.ensure_user("person@"), tags=[default_tag("two")])
    by_hand = await asyncio.to_thread(mesh_server.join, "fix-two", person, proxy_port=0)
    await asyncio.to_thread(by_hand.stop)
    await joined(mesh_server, theirs, "fix-two-b", "two")
    key = await mine.make_key("fix-two", [default_tag("two")], LIFETIME)
    client = mesh_server.client("fix-two-c", proxy_port=0)
    await asyncio.to_thread(client.start)
    await asyncio.to_thread(client.join, key.value)
    await asyncio.to_thread(client.stop)

    owner = Owner(user_name("two", "here"), (default_tag("two"),))
    later = datetime.now(UTC) + timedelta(hours=1)
    listed = (*await mine.peers(), *await theirs.peers())
    found, _ = without_pod(listed, owner, live=(), seen=(), now=later)
    assert [peer.hostname for peer in found] == ["fix-two-c"]
    for peer in found:
        await mine.remove(peer)
    left = {node["givenName"] for node in admin.nodes()}
    assert {"fix-two", "fix-two-b"} <= left
    assert "fix-two-c" not in left


async def test_a_name_that_is_taken_is_neither_adopted_nor_removed(mesh_server: Mesh) -> None:
    """The control server gives ours another one; it is recognised by the name that it asked for."""
    admin, server = mesh_server.admin(), headscale(mesh_server, "taken")
    person = admin.create_auth_key(admin.ensure_user("first@"), ephemeral=False)
    client = await asyncio.to_thread(mesh_server.join, "fix-taken", person, proxy_port=0)
    await asyncio.to_thread(client.stop)
    shutil.rmtree(client.folder)
    await joined(mesh_server, server, "fix-taken", "taken")
    (ours,) = await server.peers()
    named = {n["id"]: n["givenName"] for n in admin.nodes() if n["name"] == "fix-taken"}
    assert named.pop(ours.id).startswith("fix-taken-")
    assert list(named.values()) == ["fix-taken"]
    assert ours.hostname == "fix-taken"
    await server.remove(ours)
    left = [n["givenName"] for n in admin.nodes() if n["name"] == "fix-taken"]
    assert left == ["fix-taken"]


async def test_a_revoked_api_key_is_named_with_its_cure(mesh_server: Mesh) -> None:
    user = user_name("revoked", "uid")
    server = Headscale(mesh_server.login_server, "nope.nope", user, mesh_server.ca.read_text())
    with pytest.raises(MeshRefused, match="guildnet secret set ORG NAME --use mesh") as refused:
        await server.peers()
    assert refused.value.status == 401
    assert "nope.nope" not in str(refused.value)


async def test_an_untrusted_certificate_is_an_error(mesh_server: Mesh) -> None:
    server = Headscale(mesh_server.login_server, "k", "u", None)
    with pytest.raises(MeshUnavailable, match="certificate"):
        await server.peers()


async def test_a_deleted_user_is_made_again(mesh_server: Mesh) -> None:
    server = headscale(mesh_server, "gone")
    await server.make_key("a-gone", ["tag:x"], LIFETIME)
    server._user_id = "999999"
    with pytest.raises(MeshError):
        await server.make_key("a-gone", ["tag:x"], LIFETIME)
    assert (await server.make_key("a-gone", ["tag:x"], LIFETIME)).id


def test_no_more_than_own_peers_without_a_pod_are_orphans() -> None:
    now = datetime.now(UTC)
    old, young = now - timedelta(hours=1), now - timedelta(seconds=5)
    owner = Owner("me", ("tag:a",), frozenset({"7"}))

    def peer(name: str, *, by: str = "me", tag: str = "tag:a", at: datetime = old) -> Peer:
        return Peer("7" if name == "known" else "1", name, (tag,), by, at)

    peers = [
        peer("dead"), peer("live"), peer("tagged-otherwise", tag="tag:b"), peer("foreign", by="x"),
        peer("joining", at=young), peer("ended", at=young), peer("unknown", by=""),
        peer("known", by=""),
    ]  # fmt: skip
    gone, later = without_pod(peers, owner, live=["live"], seen=["ended"], now=now)
    assert [each.hostname for each in gone] == ["dead", "ended", "known"]
    assert [each.hostname for each in later] == ["joining"]


# --- control servers that misbehave, and Tailscale's documented answers -------------------------


class Script:
    """Answers by (method, path without query); records the requests."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, bytes]] = {}
        self.asked: list[tuple[str, str, str, bytes]] = []
        self.url = ""


@pytest.fixture
def script() -> Iterator[Script]:
    given = Script()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            authorization = self.headers.get("Authorization", "")
            given.asked.append((self.command, self.path, authorization, body))
            default = (404, b'{"message": "not found"}')
            path = self.path.partition("?")[0]
            status, content = given.answers.get((self.command, path), default)
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        given.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield given
        server.shutdown()


USERS = ("GET", "/api/v1/user")


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (200, b'{"users": 5}'),
        (200, b'{"users": [{"id": 1}]}'),
        (302, b""),
        (500, b"\xff\xfe"),
        (503, b'{"message": 5}'),
    ],
)
async def test_any_other_answer_is_a_mesh_error(
    script: Script, status: int, content: bytes
) -> None:
    """I9. A redirect is not followed: the key would go elsewhere."""
    script.answers[USERS] = (status, content)
    with pytest.raises(MeshError) as raised:
        await Headscale(script.url, "key", "u", None).peers()
    assert len(str(raised.value)) < 1000
    assert len(script.asked) == 1


async def test_an_answer_without_end_is_cut(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "MAX_ANSWER_BYTES", 1000)
    script.answers[USERS] = (200, b" " * 2000)
    with pytest.raises(MeshUnavailable, match="more than 1000 bytes"):
        await Headscale(script.url, "key", "u", None).peers()


async def test_a_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "_DEADLINE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(MeshUnavailable, match="no complete answer within"):
            await Headscale(url, "key", "u", None).peers()


async def test_a_key_that_is_echoed_is_masked(script: Script) -> None:
    """I8."""
    script.answers[USERS] = (400, b'{"message": "bad key hskey-very-secret"}')
    with pytest.raises(MeshRefused) as refused:
        await Headscale(script.url, "hskey-very-secret", "u", None).peers()
    assert "very-secret" not in str(refused.value)


async def test_a_hostile_id_does_not_become_a_path(script: Script) -> None:
    hostile = Peer("../user/1", "x", (), "u", datetime.now(UTC))
    with pytest.raises(MeshRefused):
        await Headscale(script.url, "key", "u", None).remove(hostile)
    script.answers["POST", "/api/v2/oauth/token"] = (200, b'{"access_token": "t"}')
    await Tailscale("c", "s", None, script.url).remove(hostile)
    assert script.asked[-1][1] == "/api/v2/device/..%2Fuser%2F1"


async def test_tailscales_documented_answers(script: Script) -> None:
    """Shapes from https://tailscale.com/api; nothing here has spoken to Tailscale."""
    token = {"access_token": "tskey-api-x", "token_type": "Bearer", "expires_in": 3600}
    key = {
        "id": "kABC11CNTRL", "key": "tskey-auth-k", "created": "2026-11-26T00:00:00Z",
        "expires": "2026-11-26T00:10:00Z", "capabilities": {"devices": {}},
    }  # fmt: skip
    device = {
        "addresses": ["100.87.74.78"], "id": "393735751060", "nodeId": "n5SUKe8CNTRL",
        "name": "fix-acme.tail1.ts.net", "hostname": "fix-acme", "created": "2026-11-26T00:00:00Z",
        "tags": ["tag:guildnet-acme"], "user": "tagged-devices",
    }  # fmt: skip
    script.answers = {
        ("POST", "/api/v2/oauth/token"): (200, json.dumps(token).encode()),
        ("POST", "/api/v2/tailnet/-/keys"): (200, json.dumps(key).encode()),
        ("GET", "/api/v2/tailnet/-/devices"): (200, json.dumps({"devices": [device]}).encode()),
        ("DELETE", "/api/v2/device/n5SUKe8CNTRL"): (200, b""),
    }
    server = Tailscale("client", "secret-of-client", None, script.url)
    made = await server.make_key("fix-acme", ["tag:guildnet-acme"], LIFETIME)
    assert (made.id, made.value) == ("kABC11CNTRL", "tskey-auth-k")
    asked = json.loads(script.asked[-1][3])
    assert asked["expirySeconds"] == 600
    assert asked["capabilities"]["devices"]["create"] == {
        "reusable": False, "ephemeral": True, "preauthorized": True, "tags": ["tag:guildnet-acme"],
    }  # fmt: skip
    assert script.asked[-1][2] == "Bearer tskey-api-x"
    assert b"grant_type=client_credentials" in script.asked[0][3]
    (peer,) = await server.peers()
    assert (peer.id, peer.hostname, peer.owner) == ("n5SUKe8CNTRL", "fix-acme", "")
    await server.remove(peer)
    del script.answers["DELETE", "/api/v2/device/n5SUKe8CNTRL"]
    await server.remove(peer)  # gone already
