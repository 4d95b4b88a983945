"""The steps of bootstrap: each compares the forge with what is wanted, then applies it.

Every step can be repeated: one that is done is kept, one that was interrupted is completed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from socket import gethostname

from guildnet.errors import ConfigurationError, ForgeRefused, GitError
from guildnet.forges import Administration, HostedRepository, NotOffered, Protection
from guildnet.git.failures import Cause
from guildnet.git.remote_errors import CURES
from guildnet.secret_files import read_secret
from guildnet_cli.bootstrap.content import Content, RemoteContent, refuse_foreign
from guildnet_cli.bootstrap.files import ReconcilerFiles
from guildnet_cli.bootstrap.host_keys import SshServer, fingerprints


class Action(StrEnum):
    """What a step does."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    CANNOT = "cannot"


@dataclass(frozen=True)
class Step:
    """One item of the plan. `apply` returns a further detail of what it did, or ""."""

    item: str
    action: Action
    detail: str
    apply: Callable[[], Awaitable[str]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Wanted:
    """What the command's options ask for. `webhook_url` is None for no webhook."""

    branch: str
    status_branch: str
    approvals: int
    with_examples: bool
    webhook_url: str | None
    known_hosts: Path | None


class Bootstrap:
    """Sets up one repository."""

    def __init__(
        self,
        administration: Administration,
        files: ReconcilerFiles,
        content: RemoteContent,
        wanted: Wanted,
    ) -> None:
        self.administration = administration
        self.files = files
        self.wanted = wanted
        self._content = content
        self.hosted: HostedRepository | None = None

    async def plan(self) -> list[Step]:
        """The steps in their order. Raises ConfigurationError for a repository with other files,
        and ForgeRefused, which names the permissions that the token needs."""
        with self._naming_scopes():
            return [step async for step in self._steps()]

    async def apply(self, step: Step) -> Step:
        """Apply a step, if it changes anything, and return it with what was found out."""
        if step.apply is None:
            return step
        try:
            with self._naming_scopes():
                found_out = await step.apply()
        except NotOffered as refusal:
            cure = f": {refusal.cure}" if refusal.cure else ""
            return Step(step.item, Action.CANNOT, f"{refusal.message}{cure}")
        return Step(step.item, step.action, found_out or step.detail)

    @contextmanager
    def _naming_scopes(self) -> Iterator[None]:
        try:
            yield
        except NotOffered:
            raise
        except GitError as error:
            if error.cure in (CURES[Cause.CREDENTIAL], CURES[Cause.NOT_FOUND]):
                error.cure = f"{error.cure}; the token needs {self.administration.scopes}"
            raise
        except ForgeRefused as refusal:
            if refusal.status not in (401, 403, 404):
                raise
            raise ForgeRefused(
                refusal.message,
                place=refusal.place,
                status=refusal.status,
                cure=f"The token needs {self.administration.scopes}.",
            ) from refusal

    async def _steps(self) -> AsyncIterator[Step]:
        """The steps in their order. The first ones raise ConfigurationError for a repository with
        other files, before anything was changed."""
        self.hosted = await self.administration.find_repository()
        yield self._repository()
        yield await self._template()
        yield await self._deploy_key()
        yield await self._webhook()
        yield await self._protection(self._source())
        yield await self._protection(self._status())
        yield self._host_keys()

    # --- the repository ---------------------------------------------------------------------

    def _repository(self) -> Step:
        name = self.administration.repository
        if self.hosted is not None:
            return Step("repository", Action.KEEP, f"{name} exists")
        return Step("repository", Action.CREATE, f"{name}, private", self._create)

    async def _create(self) -> str:
        self.hosted = await self.administration.create_repository()
        return ""

    async def _template(self) -> Step:
        found = Content.EMPTY
        if self.hosted is not None:
            found = await asyncio.to_thread(self._content.inspect)
            refuse_foreign(found, self._content.url, self.wanted.branch)
        if found is Content.STATE:
            return Step("template", Action.KEEP, f"{self.wanted.branch} is a state repository")
        examples = "with an example" if self.wanted.with_examples else "without an example"
        detail = f"first commit of {self.wanted.branch}, {examples}"
        return Step("template", Action.CREATE, detail, self._push_template)

    async def _push_template(self) -> str:
        await asyncio.to_thread(
            self._content.push_template, with_examples=self.wanted.with_examples
        )
        return ""

    # --- what the reconciler needs ----------------------------------------------------------

    async def _deploy_key(self) -> Step:
        public = self.files.public_key()
        found = None
        if public is not None and self.hosted is not None:
            found = await self.administration.find_deploy_key(public)
        if found is not None and found.can_write:
            return Step("deploy key", Action.KEEP, "may write")

        async def apply() -> str:
            key = self.files.make_key()
            # Titles are unique on some forges, and several machines may have a key each.
            title = f"guildnet reconciler on {gethostname()[:40]} {key[-8:]}"
            await self.administration.set_deploy_key(found, title, key)
            return ""

        if found is not None:
            return Step("deploy key", Action.CHANGE, "give it write access", apply)
        kind = "an Ed25519 key" if public is None else "the stored key"
        return Step("deploy key", Action.CREATE, f"{kind} with write access", apply)

    async def _webhook(self) -> Step:
        url, branch = self.wanted.webhook_url, self.wanted.branch
        if url is None:
            return Step("webhook", Action.KEEP, "not requested: give --webhook-url")
        found = None
        if self.hosted is not None:
            found = await self.administration.find_webhook(url, branch)
        has_secret = self.files.has_webhook_secret()
        if found is not None and has_secret and not found.gaps:
            return Step("webhook", Action.KEEP, url)
        fresh = found is not None and not has_secret

        async def apply() -> str:
            secret = self.files.next_webhook_secret(fresh=fresh)
            await self.administration.set_webhook(found, url, branch, secret)
            self.files.accept_webhook_secret()
            return ""

        if found is None:
            return Step("webhook", Action.CREATE, f"pushes to {branch}, to {url}", apply)
        gaps = [*(["a new secret, because this machine has none"] if fresh else []), *found.gaps]
        return Step("webhook", Action.CHANGE, f"{url}: {', '.join(gaps)}", apply)

    def _host_keys(self) -> Step:
        path, given = self.files.known_hosts, self.wanted.known_hosts
        if read_secret(path) and given is None:
            return Step("SSH host keys", Action.KEEP, "stored in known_hosts")
        if given is None:
            detail = "from the forge's API, or else from its SSH server: compare what is printed"
            return Step("SSH host keys", Action.CREATE, detail, self._trust_server)
        lines = read_secret(given)
        if not lines:
            raise ConfigurationError("this file has no host keys", place=str(given))
        if lines == read_secret(path):
            return Step("SSH host keys", Action.KEEP, f"those of {given}")

        async def apply() -> str:
            self.files.trust(lines)
            return ""

        return Step("SSH host keys", Action.CREATE, f"those of {given}", apply)

    async def _trust_server(self) -> str:
        assert self.hosted is not None
        server = SshServer.of(self.hosted.ssh_url)
        lines = "\n".join(map(server.line, await self.administration.host_keys()))
        if lines:
            self.files.trust(lines)
            return "from the forge's API"
        lines = await asyncio.to_thread(server.scan)
        self.files.trust(lines)
        return f"{server.host}:{server.port} sent {', '.join(fingerprints(lines))}"

    # --- branches ---------------------------------------------------------------------------

    def _source(self) -> Protection:
        return Protection(self.wanted.branch, approvals=self.wanted.approvals)

    def _status(self) -> Protection:
        return Protection(self.wanted.status_branch, deploy_key=self.files.public_key() or "")

    async def _protection(self, wanted: Protection) -> Step:
        is_source = wanted.deploy_key is None
        item = f"protection of {wanted.branch}"
        rule = (
            f"pull requests only, {wanted.approvals} approvals, no force-push"
            if is_source
            else "only deploy keys push, no force-push"
        )
        detail = "; ".join((rule, *self.administration.limits(wanted)))

        async def apply() -> str:
            # The deploy key may be new since the plan was made.
            await self.administration.protect(self._source() if is_source else self._status())
            return ""

        gaps = None
        if self.hosted is not None:
            try:
                gaps = await self.administration.protection_gaps(wanted)
            except NotOffered as refusal:
                return Step(item, Action.CANNOT, refusal.message)
        if gaps is None:
            return Step(item, Action.CREATE, detail, apply)
        if gaps:
            return Step(item, Action.CHANGE, f"{detail} (now: {', '.join(gaps)})", apply)
        return Step(item, Action.KEEP, detail)
