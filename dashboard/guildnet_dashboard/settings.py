"""The dashboard's settings, and the reason for each default."""

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
    """The state folder. The dashboard keeps its mirror in the subfolder `dashboard/`; if that is
    lost, it is fetched again."""

    branch: str = SOURCE_BRANCH
    """The source branch, which people commit to."""

    status_branch: str = STATUS_BRANCH
    """The branch that holds the records."""

    listen: str = "127.0.0.1:8443"
    """Address and port. Loopback by default, so that agents' work is not exposed by accident.
    `[::1]:8443` for IPv6; port 0 selects a free port."""

    poll: timedelta = timedelta(seconds=5)
    """Interval between checks for new commits, one `ls-remote` each. A local repository is also
    watched, so there this only bounds the delay when a watch event is missed."""

    credentials_dir: Path | None = None
    """A folder laid out like a mounted git Secret (username, password | token, ssh-privatekey,
    known_hosts, ca.crt). None: the repository is read without credentials."""

    token_file: Path | None = None
    """A file with the token that clients send, as a Bearer token or as the password in a browser.
    None: everyone who can connect can read."""

    tls_cert: Path | None = None
    """A PEM certificate chain. Requires `tls_key`."""

    tls_key: Path | None = None
    """The PEM private key of `tls_cert`."""

    dev_tls: bool = False
    """Serve HTTPS with a self-signed certificate for local development; browsers show a warning."""

    insecure: bool = False
    """Allow a non-loopback address without TLS or without a token, for use behind a proxy that
    provides both."""

    hosts: tuple[str, ...] = ()
    """Additional host names to answer to. Without a token the dashboard answers only to loopback
    names, the address it listens on and these, which defeats DNS rebinding by web pages."""
