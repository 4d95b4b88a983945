"""What to do with a file that a verb has written: leave it, commit, push or propose it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.options import CheckoutOption
from guildnet_cli.output import say

if TYPE_CHECKING:
    from guildnet.forges import Forge


@dataclass(frozen=True)
class Saving:
    """The options for it; `@options(saving=Saving)` adds them to a verb."""

    repo: CheckoutOption = Path()
    commit: Annotated[bool, typer.Option("--commit", help="Commit the file.")] = False
    push: Annotated[bool, typer.Option("--push", help="Commit the file and push it.")] = False
    propose: Annotated[
        bool,
        typer.Option("--propose", help="Commit the file on a new branch and open a pull request."),
    ] = False
    forge_token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --propose: a file with the forge's token. Default: ask git's credential "
            "helper.",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.push and self.propose:
            raise typer.BadParameter("give --push or --propose, not both")
        if self.forge_token_file is not None and not self.propose:
            raise typer.BadParameter("--forge-token-file requires --propose")

    def find_forge(self) -> Forge | None:
        """The forge to propose at; None without --propose.

        Call it before writing the file. Raises GuildNetError where no pull request can be opened.
        """
        if not self.propose:
            return None
        from guildnet_cli.repository.pull_request import forge_of

        return forge_of(self.repo, self.forge_token_file)

    def save(self, path: str, message: str, *, forge: Forge | None, branch_prefix: str) -> None:
        """Commit, push or propose the written file at `path`, as the options say."""
        from guildnet.git.checkout import Checkout

        typer.echo(path)
        if forge is not None:
            from guildnet_cli.repository.pull_request import propose

            made = propose(self.repo, [path], message, forge=forge, branch_prefix=branch_prefix)
            say(f"committed {made.commit[:12]} and pushed branch {made.branch}")
            typer.echo(made.pull_request.url)
        elif self.commit or self.push:
            checkout = Checkout(self.repo)
            say(f"committed {checkout.commit([path], message)[:12]}")
            if self.push:
                checkout.push()
                say("pushed")
