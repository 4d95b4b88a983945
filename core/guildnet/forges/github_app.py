"""Installation tokens of a GitHub App: minted when needed, for one repository, valid for an hour.

The app's private key stays in its file and signs requests of this process alone; git and the
forge's API get the token. Written and tested against docs.github.com: "Generating a JSON Web Token
(JWT) for a GitHub App" and "Create an installation access token for an app".
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import jwt

from guildnet.errors import ConfigurationError, ForgeError, ForgeRefused
from guildnet.forges.answers import text
from guildnet.forges.github import github_api
from guildnet.git.credentials import Credentials
from guildnet.secret_files import read_secret
from guildnet.units import parse_time

APP_ID_FILE = "githubAppID"
_INSTALLATION_FILE = "githubAppInstallationID"
_KEY_FILE = "githubAppPrivateKey"
_API_FILE = "githubAppBaseURL"
_AUTHORITIES_FILE = "ca.crt"

#: The username that GitHub documents for git with an installation token.
_USERNAME = "x-access-token"
#: A token is replaced this long before it ends, so that a fetch that begins with it can end.
RENEWED_BEFORE_SECONDS = 300
_LIFETIME_SECONDS = 3600
#: GitHub advises to date a JWT back by a minute for clocks that differ; it may live ten minutes.
_BACKDATED_SECONDS = 60
_JWT_SECONDS = 540


@dataclass(frozen=True)
class App:
    """The files of an app, as they are now. With names as in Flux's Secrets for GitHub Apps."""

    app_id: str
    installation_id: str
    private_key: str = field(repr=False)
    api_url: str
    authorities: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, folder: Path, api_url: str) -> App:
        """Read the files; `api_url` is used where they name none. Raises ConfigurationError."""

        def required(name: str) -> str:
            found = read_secret(folder / name)
            if not found:
                raise ConfigurationError(
                    "this file of a GitHub App is missing or empty",
                    place=str(folder / name),
                    cure=f"Store {APP_ID_FILE}, {_INSTALLATION_FILE} and {_KEY_FILE}.",
                )
            return found

        installation = required(_INSTALLATION_FILE)
        if not (installation.isascii() and installation.isdigit()):
            raise ConfigurationError("not a number", place=str(folder / _INSTALLATION_FILE))
        app = cls(
            app_id=required(APP_ID_FILE),
            installation_id=installation,
            private_key=required(_KEY_FILE),
            api_url=read_secret(folder / _API_FILE) or api_url,
            authorities=read_secret(folder / _AUTHORITIES_FILE) or None,
        )
        try:
            app.signed(time.time())
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise ConfigurationError(
                "not an RSA private key in PEM format",
                place=str(folder / _KEY_FILE),
                cure="Generate a key in the app's settings and store the downloaded file.",
            ) from error
        return app

    def signed(self, now: float) -> str:
        """A JWT by which GitHub recognises the app; `now` is in seconds since 1970."""
        issued = int(now) - _BACKDATED_SECONDS
        claims = {"iat": issued, "exp": int(now) + _JWT_SECONDS, "iss": self.app_id}
        return jwt.encode(claims, self.private_key, algorithm="RS256")


@dataclass(frozen=True)
class _Token:
    app: App
    value: str = field(repr=False)
    ends: float
    """In seconds of the monotonic clock."""

    def lasts(self, seconds: float) -> bool:
        return time.monotonic() + seconds < self.ends


class GitHubApp:
    """A provider of credentials (`CredentialProvider`) for one repository. Thread-safe."""

    def __init__(self, folder: Path, api_url: str, repository: str) -> None:
        """`folder` has the app's files, `repository` is `owner/name`. Raises ConfigurationError
        for unusable files; does not contact GitHub."""
        self._folder = folder
        self._api_url = api_url
        self._repository = repository
        self._lock = threading.Lock()
        self._token: _Token | None = None
        App.read(folder, api_url)

    def current(self) -> Credentials:
        """The token to use now. Files that were replaced are used at once. Raises
        ConfigurationError for unusable files, ForgeError when GitHub gives no token."""
        with self._lock:
            app = App.read(self._folder, self._api_url)
            token = self._token if self._token is not None and self._token.app == app else None
            if token is None or not token.lasts(RENEWED_BEFORE_SECONDS):
                try:
                    token = self._minted(app)
                except ForgeError:
                    # GitHub's outage may end before the token does.
                    if token is None or not token.lasts(0):
                        raise
                self._token = token
            authorities = self._folder / _AUTHORITIES_FILE
            return Credentials(
                username=_USERNAME,
                password=token.value,
                ca_file=authorities if app.authorities else None,
            )

    def _minted(self, app: App) -> _Token:
        # In a thread: the caller's may have an event loop already.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, self._mint(app)).result()

    async def _mint(self, app: App) -> _Token:
        started, now = time.monotonic(), time.time()
        transport = github_api(app.api_url, app.signed(now), app.authorities)
        body = {"repositories": [self._repository.partition("/")[2]]}
        path = f"/app/installations/{app.installation_id}/access_tokens"
        try:
            answer = await transport.post(path, body)
        except ForgeRefused as refusal:
            cure = _CURES.get(refusal.status, refusal.cure)
            raise ForgeRefused(
                refusal.message, place=refusal.place, status=refusal.status, cure=cure
            ) from refusal
        value = text(answer, "token")
        try:
            left = parse_time(text(answer, "expires_at")).timestamp() - now
        except ValueError as error:
            raise ForgeRefused("the token's expires_at is not a time") from error
        return _Token(app, value, started + min(left, _LIFETIME_SECONDS))


_CURES = {
    401: "check the app's ID, that its key was not deleted, and this machine's clock",
    403: "the installation is suspended, or the app lacks a permission",
    404: "check the installation's ID: it belongs to this app alone",
    422: "install the app for this repository",
}
