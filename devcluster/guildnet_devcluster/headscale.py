"""Starts a Headscale with its embedded relay, serving HTTPS with a certificate of our own CA.

Headscale contacts no other server: it has no external relays and name servers, and checks for no
updates. Its database, keys and socket are in one folder.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from guildnet.errors import GuildNetError
from guildnet.state_folder import make_private, write_private

from . import processes
from .headscale_admin import HeadscaleAdmin
from .layout import Layout
from .pki import Authority, KeyPair
from .processes import Process

_PROCESS = "headscale"
_START_TIMEOUT = timedelta(seconds=60)
#: Relative to its folder, because the path of a Unix socket is limited to 107 bytes.
_SOCKET = "headscale.sock"
_CONFIG = "config.json"
#: An ephemeral peer that disconnects without a logout is removed after this. Headscale requires
#: more than 65 s, the longest interval between two messages of a client.
EPHEMERAL_TIMEOUT = timedelta(seconds=70)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headscale:
    """A Headscale with its files in `layout.data`; it listens on `address` (IPv4) and `port`."""

    layout: Layout
    program: Path
    address: str
    port: int
    #: UDP port of the embedded STUN server.
    stun_port: int
    #: Runs a command in the network namespace of Headscale; empty for this machine's.
    inside: Sequence[str] = ()

    @property
    def url(self) -> str:
        """The login server's URL, without a trailing slash."""
        return f"https://{self.address}" + (f":{self.port}" if self.port != 443 else "")

    @property
    def ca(self) -> Path:
        """The CA certificate (PEM) that clients must trust."""
        return self._authority.own.certificate

    @property
    def api_key(self) -> Path:
        """The file with the API key; only its owner can read it."""
        return self.layout.data / "api-key"

    def admin(self) -> HeadscaleAdmin:
        """A client for the API."""
        return HeadscaleAdmin(self.url, self.api_key.read_text(), self.ca)

    def start(self) -> Process:
        """Start it with its existing data, if any. Raises GuildNetError if it does not answer."""
        folder = self._folder
        make_private(folder)
        serving = self._authority.issue("headscale", "headscale", names=[self.address])
        config = json.dumps(self._config(serving), indent=1)
        write_private(folder / _CONFIG, config.encode())
        process = processes.start(
            self.layout, _PROCESS, [*self.inside, *self._command("serve")], {"TZ": "UTC"}
        )
        processes.wait_for(
            "answer from Headscale",
            HeadscaleAdmin(self.url, "", self.ca).is_healthy,
            self.layout,
            [process],
            _START_TIMEOUT,
        )
        if not (self.api_key.exists() and self.admin().is_authorized()):
            key = self._run("apikeys", "create", "--expiration", "365d")
            write_private(self.api_key, key.split()[-1].encode())
        return process

    @property
    def _folder(self) -> Path:
        return self.layout.data / "headscale"

    @property
    def _authority(self) -> Authority:
        return Authority.in_folder(self.layout.pki)

    def _command(self, *arguments: str) -> list[str]:
        return ["env", "-C", str(self._folder), str(self.program), "-c", _CONFIG, *arguments]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            self._command(*arguments), capture_output=True, check=False, text=True, timeout=60
        )
        if done.returncode != 0:
            raise GuildNetError(
                f"headscale {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-400:]}",
                place=f"headscale in {self._folder}",
                cure="Run `guildnet devcluster mesh down`, then up again.",
            )
        return done.stdout

    def _config(self, serving: KeyPair) -> dict[str, Any]:
        return {
            "server_url": self.url,
            "listen_addr": f"{self.address}:{self.port}",
            # Both are required, and used by nobody.
            "metrics_listen_addr": "127.0.0.1:0",
            "grpc_listen_addr": "127.0.0.1:0",
            "tls_cert_path": str(serving.certificate),
            "tls_key_path": str(serving.key),
            "noise": {"private_key_path": str(self._folder / "noise.key")},
            "prefixes": {"v4": "100.64.0.0/10", "v6": "fd7a:115c:a1e0::/48"},
            "derp": {
                "server": {
                    "enabled": True,
                    "region_id": 999,
                    "region_code": "devcluster",
                    "region_name": "devcluster",
                    "stun_listen_addr": f"{self.address}:{self.stun_port}",
                    "private_key_path": str(self._folder / "derp.key"),
                    "ipv4": self.address,
                    # Clients would try to reach it by IPv6 for 3 s before they are connected.
                    "ipv6": "none",
                },
                "urls": [],
                "auto_update_enabled": False,
            },
            "disable_check_updates": True,
            "ephemeral_node_inactivity_timeout": f"{round(EPHEMERAL_TIMEOUT.total_seconds())}s",
            "database": {"type": "sqlite", "sqlite": {"path": str(self._folder / "db.sqlite")}},
            # In the database, so that it can be changed by the API.
            "policy": {"mode": "database"},
            # Clients resolve each other's names themselves; it has no servers for other names.
            "dns": {
                "magic_dns": True,
                "override_local_dns": False,
                "base_domain": "mesh.internal",
            },
            "unix_socket": _SOCKET,
            "unix_socket_permission": "0600",
            # Peers learn of each other after this, by default 0.8 s.
            "tuning": {"batch_change_delay": "50ms"},
            "logtail": {"enabled": False},
            "log": {"level": "info"},
        }
