"""Options that several verbs share: the state repository, its credentials, an org's cluster.

A group of options is a class whose fields are the options. `@options(name=Group)` adds the
group's options to a verb, which receives them as one object.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from guildnet.git import CredentialProvider
    from guildnet_cli.cluster.org_cluster import OrgCluster

TaskArgument = Annotated[str, typer.Argument(metavar="ORG/TASK", help="The org and the task.")]
CheckoutOption = Annotated[
    Path, typer.Option("--repo", metavar="DIR", help="A checkout of the state repository.")
]
RepoOption = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="URL-or-DIR",
        envvar="GUILDNET_REPO",
        help="The state repository. Default: origin of the current checkout.",
    ),
]
StatusBranchOption = Annotated[
    str, typer.Option("--status-branch", metavar="BRANCH", help="The status branch.")
]
# Of a new org's file.
AgentsNamespaceOption = Annotated[
    str, typer.Option(metavar="NAME", help="The namespace for the org's AgentTasks.")
]
TaskCommandOption = Annotated[
    str | None,
    typer.Option(help="The default command of tasks, run by sh with the prompt as $0."),
]
EgressOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST[:PORT]",
        help="A destination that agents may connect to, such as the forge; all others are "
        "blocked. Repeatable. The default port is 443.",
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(help="The coding agent that tasks run by default, such as codex."),
]


def split_task(task: str) -> tuple[str, str]:
    """`ORG/TASK` as its two names; a usage error for anything else."""
    org, separator, name = task.partition("/")
    if not (separator and org and name) or "/" in name:
        raise typer.BadParameter(f"{task!r} is not ORG/TASK")
    return org, name


def options(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace each parameter named in `groups` by the options that its group takes."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        taken = {name: inspect.signature(group, eval_str=True) for name, group in groups.items()}

        def parameters() -> Iterator[inspect.Parameter]:
            for parameter in inspect.signature(verb, eval_str=True).parameters.values():
                if parameter.name in taken:
                    for option in taken[parameter.name].parameters.values():
                        yield option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
                else:
                    yield parameter

        @functools.wraps(verb)
        def call(**given: Any) -> None:
            for name, group in groups.items():
                own = {option: given.pop(option) for option in taken[name].parameters}
                given[name] = group(**own)
            verb(**given)

        expanded = list(parameters())
        call.__dict__["__signature__"] = inspect.Signature(expanded)
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in expanded}
        return call

    return decorate


@dataclass(frozen=True)
class ClusterOptions:
    """How to find an org's cluster: by the org's file, or by what the user names instead."""

    repo: RepoOption = None
    kubeconfig: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use this kubeconfig instead of the stored one."),
    ] = None
    context: Annotated[
        str | None, typer.Option(metavar="NAME", help="The kubeconfig context to use.")
    ] = None
    namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Use this namespace instead of the org's."),
    ] = None

    def of(self, org: str) -> OrgCluster:
        """The cluster of `org`. Raises ConfigurationError where the org or a kubeconfig is
        missing."""
        from guildnet_cli.cluster.org_cluster import find_cluster

        return find_cluster(
            org,
            repo=self.repo,
            kubeconfig=self.kubeconfig,
            context=self.context,
            namespace=self.namespace,
        )


@dataclass(frozen=True)
class GitOptions:
    """The credentials for the state repository."""

    git_credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder with username, password or token, ssh-privatekey, known_hosts, ca.crt, "
            "or with the files of a GitHub App.",
        ),
    ] = None
    git_token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with a password or token for HTTPS."),
    ] = None
    git_username: Annotated[
        str, typer.Option(metavar="NAME", help="The username for --git-token-file.")
    ] = "git"

    def folder(self) -> Path | None:
        """One folder of credentials, laid out like a mounted Secret; None without any.

        A token file is linked, never copied, so that a rotated token is used at once. Raises
        ConfigurationError when the file does not exist.
        """
        from guildnet.digest import sha256_hex
        from guildnet.errors import ConfigurationError
        from guildnet.state_folder import private_folder, state_folder, write_private

        if self.git_credentials is not None and self.git_token_file is not None:
            raise typer.BadParameter("give --git-credentials or --git-token-file, not both")
        if self.git_token_file is None:
            return self.git_credentials
        token = self.git_token_file.expanduser().absolute()
        if not token.is_file():
            raise ConfigurationError(
                "no such file", place=str(self.git_token_file), cure="Write the token into it."
            )
        made = state_folder() / "credentials"
        made /= sha256_hex(f"{self.git_username}\n{token}".encode())[:16]
        try:
            private_folder(made.parent)
            private_folder(made)
            write_private(made / "username", self.git_username.encode())
            if not (made / "token").is_symlink():
                (made / "token").symlink_to(token)
        except OSError as error:
            raise ConfigurationError(f"cannot write: {error.strerror}", place=str(made)) from error
        return made

    def credentials(self, repo: str | None) -> CredentialProvider | None:
        """The provider of these credentials for `repo`; None without any."""
        from guildnet.git import stored_credentials

        return stored_credentials(self.folder(), repo or "")
