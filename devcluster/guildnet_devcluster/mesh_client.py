"""Starts userspace Tailscale clients, which need neither root nor a tun device."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from guildnet.errors import GuildNetError
from guildnet.state_folder import make_private, write_private

from . import processes
from .layout import Layout
from .processes import Process

_START_TIMEOUT = timedelta(seconds=60)
_STOP_TIMEOUT = timedelta(seconds=10)
#: Relative to its folder, because the path of a Unix socket is limited to 107 bytes.
_SOCKET = "tailscaled.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshClient:
    """A userspace client of the mesh, with its files below `layout.data`."""

    layout: Layout
    #: The folder of the compiled programs.
    programs: Path
    name: str
    login_server: str
    #: The CA certificate (PEM) of the login server.
    ca: Path
    #: The port on 127.0.0.1 of its proxy to the mesh, which speaks SOCKS5 and HTTP; 0 for none.
    proxy_port: int = 0

    @property
    def proxy(self) -> str:
        """`ADDRESS:PORT` of the SOCKS5 and HTTP proxy."""
        return f"127.0.0.1:{self.proxy_port}"

    @property
    def folder(self) -> Path:
        return self.layout.data / "clients" / self.name

    @property
    def is_running(self) -> bool:
        """Whether its tailscaled is running, connected or not."""
        return any(each.is_alive for each in self._recorded())

    def start(self) -> Process:
        """Start tailscaled, with its existing identity, if any.

        Raises GuildNetError if it does not answer.
        """
        make_private(self.folder)
        options = ["--tun=userspace-networking", "--port=0", "--statedir=."]
        if self.proxy_port:
            options += [
                f"--socks5-server={self.proxy}",
                f"--outbound-http-proxy-listen={self.proxy}",
            ]
        process = processes.start(
            self.layout,
            self._process,
            self._command("tailscaled", f"--socket={_SOCKET}", *options),
            self._environment(),
        )
        processes.wait_for(
            "answer from tailscaled",
            lambda: self._call("status", "--json").returncode == 0,
            self.layout,
            [process],
            _START_TIMEOUT,
        )
        return process

    def has_identity(self) -> bool:
        """Whether it has joined before, and is connecting or connected again."""
        return self.status()["BackendState"] in ("Starting", "Running")

    def wait_until_connected(self) -> None:
        """Wait for the connection to the login server. Raises GuildNetError after 60 s."""
        processes.wait_for(
            "connection to the login server",
            lambda: bool(self.status()["BackendState"] == "Running"),
            self.layout,
            self._recorded(),
            _START_TIMEOUT,
        )

    def stop(self) -> None:
        """Stop tailscaled without a logout; `start` continues with the same identity."""
        processes.stop(self._recorded(), _STOP_TIMEOUT)
        processes.forget(self.layout)

    def join(self, auth_key: str) -> None:
        """Log in to the login server, and wait until the client is connected.

        Raises GuildNetError if it refuses the key.
        """
        # A file, because arguments are visible to every user.
        write_private(self.folder / "auth-key", auth_key.encode())
        try:
            self.run(
                "up",
                f"--login-server={self.login_server}",
                "--auth-key=file:auth-key",
                f"--hostname={self.name}",
                "--accept-dns=false",
                "--accept-routes=false",
                f"--timeout={round(_START_TIMEOUT.total_seconds())}s",
            )
        finally:
            (self.folder / "auth-key").unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        """What `tailscale status --json` prints: `BackendState`, `Self`, `Peer`, ..."""
        found: dict[str, Any] = json.loads(self.run("status", "--json"))
        return found

    def address(self) -> str:
        """Its IPv4 address on the mesh. Raises GuildNetError before `join`."""
        return self.run("ip", "-4").strip()

    def serve(self, port: int, target: str) -> None:
        """Serve TCP `port` on the mesh from `ADDRESS:PORT` `target` of this machine."""
        self.run("serve", "--bg", "--yes", f"--tcp={port}", f"tcp://{target}")

    def run(self, *arguments: str) -> str:
        """Run `tailscale` against this client and return its output. Raises GuildNetError."""
        done = self._call(*arguments)
        if done.returncode != 0:
            raise GuildNetError(
                f"tailscale {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-400:]}",
                place=f"mesh client {self.name}",
                cure=f"Read {self.layout.logs / self._process}.log.",
            )
        return done.stdout

    @property
    def _process(self) -> str:
        return f"client-{self.name}"

    def _recorded(self) -> list[Process]:
        return [each for each in processes.recorded(self.layout) if each.name == self._process]

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command("tailscale", f"--socket={_SOCKET}", *arguments),
            env={**os.environ, **self._environment()},
            capture_output=True,
            check=False,
            text=True,
            timeout=_START_TIMEOUT.total_seconds() + 10,
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        return ["env", "-C", str(self.folder), str(self.programs / program), *arguments]

    def _environment(self) -> dict[str, str]:
        proxies: Sequence[str] = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        return {
            # No logs to the vendor, no port mappings on the router, no proxy to the login server.
            "TS_NO_LOGS_NO_SUPPORT": "true",
            "TS_DISABLE_PORTMAPPER": "true",
            "TS_LOGS_DIR": ".",
            **dict.fromkeys(proxies, ""),
            "SSL_CERT_FILE": str(self.ca),
        }
