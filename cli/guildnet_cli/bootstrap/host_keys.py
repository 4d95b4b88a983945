"""The host keys of a forge's SSH server: read from a file, or asked of the server itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import subprocess
from dataclasses import dataclass
from urllib.parse import urlsplit

from guildnet.errors import ConfigurationError

_SECONDS = 10
_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class SshServer:
    """The address of an SSH server."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> SshServer:
        """The server of `ssh://git@host:port/path` or `git@host:path`."""
        if "://" in url:
            try:
                parts = urlsplit(url)
                host, port = parts.hostname, parts.port or 22
            except ValueError:
                host, port = None, 22
        else:
            host, port = url.partition(":")[0].rpartition("@")[2], 22
        if not host or host.startswith("-") or not host.isascii() or not host.isprintable():
            raise ConfigurationError(f"the forge's SSH URL has no host: {url[:200]!a}")
        return cls(host, port)

    def line(self, key: str) -> str:
        """The line of known_hosts for a key (`type base64`)."""
        name = self.host if self.port == 22 else f"[{self.host}]:{self.port}"
        return f"{name} {' '.join(key.split()[:2])}"

    def scan(self) -> str:
        """Ask the server for its keys, as lines of known_hosts. Nothing proves that they are its
        own. Raises ConfigurationError where no SSH server answers."""
        command = ["ssh-keyscan", "-T", str(_SECONDS), "-p", str(self.port), "--", self.host]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=3 * _SECONDS, check=False
            ).stdout[:_MAX_BYTES]
        except subprocess.TimeoutExpired:
            done = b""
        except OSError as error:
            raise ConfigurationError(
                f"ssh-keyscan cannot be started: {error.strerror}",
                cure="Install the OpenSSH client, or give --known-hosts FILE.",
            ) from error
        lines = [line for line in done.decode("ascii", "replace").splitlines() if line[:1] != "#"]
        if not any(map(fingerprint, lines)):
            raise ConfigurationError(
                "no SSH server answers; the deploy key needs one",
                place=f"{self.host}:{self.port}",
                cure="Enable SSH on the forge, or open its port to this machine. Then run the "
                "command again.",
            )
        return "\n".join(lines)


def fingerprint(line: str) -> str:
    """`SHA256:...` of the key in a line of known_hosts, as ssh-keygen shows it; empty without."""
    words = line.split()
    try:
        key = base64.b64decode(words[2], validate=True)
    except (IndexError, binascii.Error, ValueError):
        return ""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def fingerprints(lines: str) -> list[str]:
    """`TYPE SHA256:...` of each key."""
    return [
        f"{line.split()[1]} {mark}" for line in lines.splitlines() if (mark := fingerprint(line))
    ]
