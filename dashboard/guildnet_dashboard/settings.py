"""The dashboard's settings, and the reason for each default."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.labels import SOURCE_BRANCH, STATUS_BRANCH


@dataclass(frozen=True)
class SignInSettings:
    """Sign-in with an OpenID Connect provider, and which orgs a person sees."""

    issuer: str
    """The provider's issuer URL. `/.well-known/openid-configuration` below it names the rest."""

    client_id: str
    """The client that the dashboard is registered as at the provider."""

    client_secret_file: Path | None = None
    """A file with the client's secret, read at each sign-in. None: a public client, which proves
    itself by PKCE alone."""

    public_url: str = ""
    """The URL that browsers use, such as `https://guildnet.example`, without a path. The redirect
    URI is this URL and `/signin/callback`. Empty: the address that the dashboard listens on, which
    must be loopback then."""

    ca_file: Path | None = None
    """PEM certificates of authorities to trust for the provider, in addition to the system's."""

    scopes: tuple[str, ...] = ()
    """The scopes to ask for besides `openid`. Empty: `profile`, and `groups` if the provider
    lists it among its scopes."""

    org_claim: str = "groups"
    """The claim of the ID token that holds a person's groups: a string, or a list of strings."""

    org_map_file: Path | None = None
    """A YAML file that maps values of the claim to lists of orgs. None: a value grants the org of
    the same name."""

    admin_groups: tuple[str, ...] = ()
    """Values of the claim that grant every org."""

    audience: str = ""
    """The audience of bearer JWTs for the API. Empty: the client's ID."""

    session_lifetime: timedelta = timedelta(hours=1)
    """How long a session lasts. A person who leaves a group keeps access until then. Signing in
    again needs no password while the person's session at the provider lasts."""

    session_key_file: Path | None = None
    """A file with the keys that sign sessions, one a line, 32 characters or more each. The first
    one signs; all of them verify. None: a key that is made once and kept in the state folder."""


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

    sign_in: SignInSettings | None = None
    """Sign-in with an OpenID Connect provider. None: nobody can sign in."""
