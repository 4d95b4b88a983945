"""What the dashboard can be told, and why each default is as it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.labels import SOURCE_BRANCH, STATUS_BRANCH


@dataclass(frozen=True)
class Settings:
    """Read once, in `main`."""

    repository: str
    """The state repository: a URL, or a folder on this machine."""

    state_dir: Path
    """The state folder. The dashboard keeps its own mirror in `dashboard/` under it; losing it
    costs one fetch."""

    branch: str = SOURCE_BRANCH
    """The branch people commit to."""

    status_branch: str = STATUS_BRANCH
    """The branch that holds the record."""

    listen: str = "127.0.0.1:8443"
    """Address and port. Loopback by default: what agents write is nobody else's business until
    somebody decides so. `[::1]:8443` for IPv6; port 0 takes a free one."""

    poll: timedelta = timedelta(seconds=5)
    """How often the remote is asked for new commits. It costs one `ls-remote`; a folder on this
    machine is watched as well, so this only bounds what a watch misses."""

    credentials_dir: Path | None = None
    """A folder as a mounted git Secret has it (username, password | token, ssh-privatekey,
    known_hosts, ca.crt). None: the repository is read without."""

    token_file: Path | None = None
    """A file holding the token that readers give, as a Bearer token or as the password their
    browser asks for. None: whoever can connect can read."""

    tls_cert: Path | None = None
    """A PEM certificate (chain). Goes with `tls_key`."""

    tls_key: Path | None = None
    """The PEM key of `tls_cert`."""

    dev_tls: bool = False
    """Serve HTTPS with a certificate made here, for trying things; browsers will warn."""

    insecure: bool = False
    """Allow an address beyond loopback without TLS or without a token. For places where
    something in front gives both."""

    hosts: tuple[str, ...] = ()
    """Further names the dashboard answers to. Without a token it answers only to loopback names,
    the address it listens on and these, so that no web page can read it by rebinding its name."""
