"""The control server that an org's Secret is for, and the credential in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from guildnet.errors import MeshRefused
from guildnet.kube import SECRETS, KubeClient
from guildnet.mesh import MeshSettings, user_name
from guildnet_operator.mesh.control_server import ControlServer
from guildnet_operator.mesh.headscale import Headscale
from guildnet_operator.mesh.tailscale import Tailscale
from guildnet_operator.references import AUTHORITIES, CLIENT_ID, CLIENT_SECRET, CONTROL_KEY
from guildnet_operator.views import OrgSettings


class Credentials:
    """Reads the Secret for each use, so that a new credential counts at once."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._made: tuple[Any, ControlServer] | None = None

    async def connect(self, org: OrgSettings, mesh: MeshSettings) -> tuple[ControlServer, str]:
        """(the control server, the org's user on it). Raises KubeError and MeshRefused."""
        secret = await self._client.get(SECRETS, mesh.secret)
        user = user_name(org.org, org.namespace_uid)
        key = (mesh, user, secret["metadata"].get("resourceVersion"))
        if self._made is None or self._made[0] != key:
            self._made = (key, _control_server(mesh, user, _values(secret, mesh.secret)))
        return self._made[1], user


def _control_server(mesh: MeshSettings, user: str, values: Mapping[str, str]) -> ControlServer:
    authorities = values.get(AUTHORITIES)
    try:
        if CONTROL_KEY in values:
            return Headscale(mesh.login_server, values[CONTROL_KEY], user, authorities)
        return Tailscale(values[CLIENT_ID], values[CLIENT_SECRET], authorities)
    except KeyError as error:
        raise MeshRefused(f"it has no key {error.args[0]}", place=f"Secret {mesh.secret}") from None


def _values(secret: Mapping[str, Any], name: str) -> dict[str, str]:
    try:
        found = secret.get("data") or {}
        return {key: base64.b64decode(value).decode() for key, value in found.items()}
    except ValueError:
        raise MeshRefused("a value of it is not text", place=f"Secret {name}") from None
