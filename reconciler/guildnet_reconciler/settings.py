"""The reconciler's settings, each with its unit, its default and the reason for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from guildnet import labels
from guildnet.age_files import age_identity
from guildnet.git import Identity, OpenPgpKeyring, SignaturePolicy, SshSigners, any_signature
from guildnet.state_folder import kubeconfig_path, state_folder

TOKEN_FILE = "reconciler-token"  # noqa: S105  (a file's name)


@dataclass(frozen=True)
class Settings:
    """Read once, by `main.run`."""

    repo: str
    """The state repository: an https, http or ssh URL, or a folder. No credentials in it."""

    branch: str = labels.SOURCE_BRANCH
    """The source branch; a full ref (refs/tags/v1) or a commit id is followed as well."""

    status_branch: str = labels.STATUS_BRANCH
    """The branch only GuildNet writes. An orphan, so that a protected source branch never sees a
    bot's commit and a webhook never loops."""

    state_dir: Path = field(default_factory=state_folder)
    """Mirrors, kubeconfigs (kube/<name>.config) and commits not pushed yet. All but the
    kubeconfigs is restored from git and the clusters."""

    listen: str | None = "127.0.0.1:8080"
    """host:port of webhooks, health and metrics. Loopback, because a webhook needs a proxy with
    TLS in front of it anyway. None serves nothing."""

    webhook_secret_file: Path | None = None
    """The secret that forges sign with. None refuses webhooks: anyone could send an
    unsigned request."""

    token_file: Path | None = None
    """The token that other machines need to see metrics and the details of readiness, and that
    `guildnet sync` needs everywhere. None creates one in the state folder (`reconciler-token`)."""

    poll: timedelta = timedelta(seconds=60)
    """How often the remote is asked for its refs, give or take a tenth. One ls-remote is cheap,
    and a webhook may be lost."""

    once: bool = False
    """Make one pass and return, for CI and scripts."""

    once_deadline: timedelta = timedelta(minutes=5)
    """How long one pass may take with `once`, all clusters together."""

    org: str | None = None
    """Only this org (pull mode: a reconciler inside the org's own cluster). None is all."""

    in_cluster: bool = False
    """Reach the org's cluster with the pod's service account instead of a kubeconfig. Only with
    `org`: one account is one cluster."""

    kubeconfig_secrets: bool = False
    """Take the orgs' kubeconfigs from the Secrets in the pod's namespace that are labelled
    `guildnet.io/use: kubeconfig`. They are stored in the state folder, and followed."""

    peers: str | None = None
    """host:port of all replicas, as a headless Service resolves it. A webhook reaches one of
    them, and it may be another that holds the org's Lease; None relays nothing."""

    shards: int = 1
    """How many reconcilers share the orgs; each org's Lease decides who writes."""

    shard: int = 0
    """Which of them this one is, from 0."""

    init_status: bool = False
    """Create the status branch again, or accept that it was rewritten. Only a person may decide
    this: without the lost records, finished work can run again (I7)."""

    credentials: Path | None = None
    """A folder with username, password or token, ssh-privatekey, known_hosts, ca.crt, or with the
    files of a GitHub App, or a file with a token. None for a repository that needs none."""

    forge_token_file: Path | None = None
    """A token that may set commit statuses, or a folder as `credentials`. None sets none."""

    allowed_signers: Path | None = None
    """An SSH allowed-signers file. With it, only a tip signed by one of them is applied, and only
    the trailers of such commits count."""

    openpgp_keyring: Path | None = None
    """A file of exported OpenPGP public keys. A commit that one of them signed counts like one of
    `allowed_signers`; with both, either signature is enough."""

    org_signers: Path | None = None
    """A folder of SSH allowed-signers files, each named like an org, and of OpenPGP public keys,
    each named `<org>.gpg`. A commit signed by one of them approves deletions and moves of that
    org, even if it changes no file of the org."""

    granted_kubeconfigs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """kubeconfig name -> grants, each `ORG:NAMESPACE`, or `ORG` for every namespace. Each org may
    use the kubeconfig of its own name; only the person who runs the reconciler can
    grant more, not a person who can commit (I9)."""

    identity: Identity = field(default_factory=Identity)
    """Author and signing key of commits on the status branch."""

    status_interval: timedelta = timedelta(seconds=2)
    """Changes of one interval become one commit, which limits the load on the forge."""

    in_flight: int = 32
    """Requests to one API server at once, of all orgs on it together; fewer while it answers
    slowly or refuses. The API server's rate is flat beyond it."""

    total_in_flight: int = 256
    """Requests to all API servers at once. One process reads no more answers than that in time; a
    server with nothing under way may always start one more."""

    machine_interval: timedelta = timedelta(minutes=5)
    """How often the Talos machines of an org with `talos.reconcile` are compared with git, if git
    does not change: a check starts talosctl twice for each machine."""

    age_identity: Path | None = field(default_factory=age_identity)
    """The file with the age identity that decrypts the secrets of Talos clusters; by default the
    one that GUILDNET_AGE_IDENTITY names. None for secrets that lie in the state directory."""

    pass_deadline: timedelta = timedelta(minutes=5)
    """How long an org's pass may make no progress before it is ended and tried again. Waiting for
    the first syncs of other orgs does not count."""

    retry: timedelta = timedelta(seconds=2)
    """The first back-off after a failure; doubled each time, with jitter."""

    max_retry: timedelta = timedelta(minutes=1)
    """The longest back-off: a repaired cluster or file is noticed within it."""

    holder: str = field(default_factory=lambda: f"{os.uname().nodename}-{os.getpid()}")
    """This process in the orgs' Leases; unique among replicas."""

    def mirror_path(self) -> Path:
        """The folder of the repository's mirror: one for each URL."""
        name = hashlib.sha256(self.repo.encode()).hexdigest()[:16]
        return self.state_dir / "mirrors" / f"{name}.git"

    @property
    def signatures(self) -> SignaturePolicy | None:
        """Whose signed commits are followed; None where signatures are not required."""
        return self._signed_by(self.allowed_signers, self.openpgp_keyring)

    def org_signatures(self, org: str) -> SignaturePolicy | None:
        """Whose signed commits approve for an org; None where nobody's do."""
        if self.org_signers is None:
            return None
        ssh, keyring = self.org_signers / org, self.org_signers / f"{org}.gpg"
        return self._signed_by(
            ssh if ssh.is_file() else None, keyring if keyring.is_file() else None
        )

    def _signed_by(self, ssh: Path | None, keyring: Path | None) -> SignaturePolicy | None:
        policies: list[SignaturePolicy] = []
        if ssh is not None:
            policies.append(SshSigners(ssh))
        if keyring is not None:
            policies.append(OpenPgpKeyring(keyring, self.state_dir))
        return any_signature(policies)

    @property
    def kubeconfig_folder(self) -> Path:
        """Where the kubeconfigs are stored."""
        return self.kubeconfig_path("any").parent

    def kubeconfig_path(self, name: str) -> Path:
        """The path of a kubeconfig; `name` is a DNS label, so the path stays in its folder."""
        return kubeconfig_path(name, self.state_dir)

    def may_use(self, org: str, kubeconfig: str, namespace: str) -> bool:
        """Whether an org may name a kubeconfig together with a namespace."""
        granted = self.granted_kubeconfigs.get(kubeconfig, frozenset())
        return kubeconfig == org or bool(granted & {org, f"{org}:{namespace}"})

    def holder_for(self, org: str) -> str:
        """This process in an org's Lease. It contains the org, so that two orgs with the same
        namespace never mistake each other's Lease for their own."""
        return f"{self.holder}/{org}"

    def is_mine(self, org: str) -> bool:
        """Whether this process works on the org, by rendezvous hashing over the shards."""
        if self.org is not None:
            return org == self.org
        if self.shards <= 1:
            return True
        weights = [
            hashlib.sha256(f"{shard}/{org}".encode()).digest() for shard in range(self.shards)
        ]
        return weights[self.shard] == max(weights)
