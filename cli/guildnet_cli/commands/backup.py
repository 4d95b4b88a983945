"""`guildnet backup`: keep what git does not hold, and check that it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guildnet_cli.options import RepoOption
from guildnet_cli.output import Format, FormatOption, counted, emit, examples, say, table

if TYPE_CHECKING:
    from guildnet_cli.backup.archive import Finding


def register(app: typer.Typer) -> None:
    app.command(
        epilog=examples(
            "guildnet backup 2026-11-26 --recipient age1... --file hook --file allowed-signers",
            "guildnet backup 2026-11-26 --check",
            "guildnet backup 2026-11-26 --open restored",
        )
    )(backup)


def backup(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="The folder of the backup.")
    ] = None,
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="List what git does not hold, and whether the backup holds it."
        ),
    ] = False,
    open_in: Annotated[
        Path | None,
        typer.Option(
            "--open",
            metavar="DIR",
            help="Decrypt the backup into this folder, with the identity in GUILDNET_AGE_IDENTITY.",
        ),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(metavar="AGE", help="An age public key that can open it; repeatable."),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A file or folder outside the state folder, such as the webhook's secret or the "
            "allowed signers; repeatable. --check knows those of the backup.",
        ),
    ] = None,
    control_plane: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The kubeconfig of the control plane's cluster, for the Secrets in its namespace.",
        ),
    ] = None,
    control_plane_namespace: Annotated[
        str, typer.Option(metavar="NAME", help="The control plane's namespace.")
    ] = "guildnet",
    repo: RepoOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Keep what git does not hold, and check that it is kept.

    That is kubeconfigs, tokens and keys in the state folder, the files that you name, and the
    Secrets of the orgs' clusters. Exits with 1 when something is not kept.
    """
    import asyncio

    from guildnet.age_files import age_identity
    from guildnet_cli.backup import archive
    from guildnet_cli.backup.gathering import gathered

    if open_in is not None and folder is not None:
        for name in archive.opened(folder, open_in, age_identity()):
            say(f"opened {open_in / name}")
        return
    if not check and (folder is None or not recipient):
        raise typer.BadParameter("give DIR and --recipient to make a backup, or --check")
    manifest = archive.Manifest()
    if check and folder is not None:
        manifest = archive.Manifest.read(folder)
    known = [path for path in manifest.files() if path.is_file()]
    files = [*known, *(file or ())]
    items = asyncio.run(gathered(files, repo, control_plane, control_plane_namespace))
    if not check:
        assert folder is not None
        archive.write(folder, items, recipient or [])
        manifest = archive.Manifest.read(folder)
        say(f"kept in {folder}; copy it to another machine, and its age identity to a third place")
    findings = archive.compared(items, manifest)
    emit(archive.to_json(findings), output, lambda: _text(findings))
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)


def _text(findings: list[Finding]) -> str:
    rows = [
        (each.item, each.state if each.good else each.state.upper(), each.what_to_do)
        for each in findings
    ]
    bad = sum(not finding.good for finding in findings)
    kept = counted(sum(finding.state == "kept" for finding in findings), "item")
    return f"{table(('ITEM', 'STATE', 'WHAT TO DO'), rows)}\n{kept} kept, {bad} not kept"
