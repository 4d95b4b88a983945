"""What becomes of a file that a verb wrote in the checkout, and the options that say so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.output import say

if TYPE_CHECKING:
    from guildnet.forges import Forge

CheckoutOption = Annotated[
    Path, typer.Option("--repo", metavar="DIR", help="The state repository's checkout.")
]
CommitOption = Annotated[bool, typer.Option("--commit", help="Commit the file.")]
PushOption = Annotated[bool, typer.Option("--push", help="Commit the file and push it.")]
ProposeOption = Annotated[
    bool, typer.Option("--propose", help="Commit it on a branch and open a pull request for it.")
]
ForgeTokenOption = Annotated[
    Path | None,
    typer.Option(
        "--forge-token-file",
        metavar="FILE",
        help="With --propose: a token for the forge; what git remembers for it by default.",
    ),
]


class Saving:
    """What becomes of a file once it is written: left, committed, pushed, or proposed."""

    def __init__(
        self, repo: Path, commit: bool, push: bool, propose: bool, forge_token_file: Path | None
    ) -> None:
        if push and propose:
            raise typer.BadParameter("give --push or --propose, not both")
        if forge_token_file is not None and not propose:
            raise typer.BadParameter("--forge-token-file goes with --propose")
        self.repo = repo
        self._commit, self._push, self._propose = commit or push, push, propose
        self._forge_token_file = forge_token_file
        self._forge: Forge | None = None

    def prepare(self) -> None:
        """Raises GuildNetError, before anything is written, where it could not be proposed."""
        if self._propose:
            from guildnet_cli.proposing import forge_of

            self._forge = forge_of(self.repo, self._forge_token_file)

    def save(self, path: str, message: str, *, verb: str, task: str) -> None:
        """Do so with the file at `path`, which stands there already."""
        from guildnet.git.checkout import Checkout

        typer.echo(path)
        if self._forge is not None:
            from guildnet_cli.proposing import propose

            prefix = f"{verb}-{task.replace('/', '-')}"
            made = propose(self.repo, [path], message, forge=self._forge, branch_prefix=prefix)
            say(f"committed as {made.commit[:12]} on branch {made.branch}, and pushed")
            typer.echo(made.pull_request.url)
        elif self._commit:
            checkout = Checkout(self.repo)
            say(f"committed as {checkout.commit([path], message)[:12]}")
            if self._push:
                checkout.push()
                say("pushed")
