"""Verbs about a task: each writes the task's file in the checkout, and can commit and push it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet_cli.output import examples, say
from guildnet_cli.saving import (
    CheckoutOption,
    CommitOption,
    ForgeTokenOption,
    ProposeOption,
    PushOption,
    Saving,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guildnet_cli.task_files import Scalar

TaskArgument = Annotated[str, typer.Argument(metavar="ORG/TASK", help="The task.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Tasks: written, run again, ended, paused, released.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(
        epilog=examples(
            'guildnet task new acme/fix-login --prompt "Fix the login loop." \\',
            "    --context web=https://git.example/acme/web.git#main --pull-request --push",
            'guildnet task new acme/audit --prompt "List unused code." --preset codex --propose',
        )
    )(new)
    group.command(epilog=examples("guildnet task rerun acme/fix-login --push"))(rerun)
    group.command(epilog=examples("guildnet task cancel acme/fix-login --push"))(cancel)
    group.command(epilog=examples("guildnet task suspend acme/fix-login --push"))(suspend)
    group.command(epilog=examples("guildnet task resume acme/fix-login --push"))(resume)
    group.command(epilog=examples("guildnet task release acme/fix-login"))(release)
    app.add_typer(group, name="task")


def new(
    task: TaskArgument,
    *,
    prompt: Annotated[
        str, typer.Option(help="What the agent is asked to do; - reads it from standard input.")
    ],
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]URL[#REF]", help="A git repository to work with; repeatable."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="A text to work with; repeatable."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="What to run, by sh; the prompt is its $0. The org's default else."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="The coding agent to run, such as codex, with a model of the org."),
    ] = None,
    secret: Annotated[str | None, typer.Option(help="The git Secret of every --context.")] = None,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Publish the first --context's work as one.")
    ] = False,
    timeout: Annotated[str | None, typer.Option(help="Of one attempt, such as 30m.")] = None,
    repo: CheckoutOption = Path(),
    commit: CommitOption = False,
    push: PushOption = False,
    propose: ProposeOption = False,
    forge_token_file: ForgeTokenOption = None,
) -> None:
    """Write a new task's file. Without --preset and --command, the org's agent must have one."""
    from guildnet.errors import ConfigurationError
    from guildnet.work_tree import WorkTree
    from guildnet_cli import task_files

    saving = Saving(repo, commit, push, propose, forge_token_file)
    org, name = split(task)
    spec = _new_spec(prompt, context or [], text or [], secret)
    if preset is not None and command is not None:
        raise typer.BadParameter("--preset runs a program of its own; leave --command out")
    if preset is not None:
        spec["agent"] = {"preset": preset}
    if command is not None:
        spec["agent"] = {"command": ["sh", "-c", command, "{prompt}"]}
    if pull_request:
        if not context:
            raise typer.BadParameter("--pull-request needs a --context to publish")
        spec["pullRequest"] = {"context": spec["context"][0]["name"]}
    if timeout is not None:
        spec["timeout"] = timeout
    path, content = task_files.new_task(org, name, spec)
    _must_start(repo, org, path, content)
    saving.prepare()
    if not WorkTree(repo).create(path, content):
        raise ConfigurationError(
            "this task exists already", place=path, cure="Edit its file, or take another name."
        )
    saving.save(path, f"Add task {org}/{name}", verb="new", task=task)


def _must_start(repo: Path, org: str, path: str, content: bytes) -> None:
    """Refuse a task that could not start: an org that is missing or bad, or no command at all."""
    from guildnet.errors import ConfigurationError, InvalidResource
    from guildnet.loading import load_org, load_task
    from guildnet.merge import RunRef, agent_task_spec
    from guildnet.resources import Source, org_path
    from guildnet.work_tree import WorkTree
    from guildnet_cli.bounded import read_resource

    place = org_path(org)
    if WorkTree(repo).kind(place) is None:
        raise ConfigurationError(
            f"there is no org {org}",
            place=str(repo / place),
            cure="Run this in the state repository's folder, or add it with `guildnet org add`.",
        )
    owner = load_org(read_resource(repo, place), Source(place))
    try:
        agent_task_spec(owner, load_task(content, Source(path)), RunRef(1))
    except InvalidResource as error:
        raise ConfigurationError(
            "; ".join(problem.message for problem in error.problems),
            place=path,
            cure=f"Give --preset or --command, or set spec.agent.command in {place} for all tasks.",
        ) from error


def _new_spec(
    prompt: str, contexts: list[str], texts: list[str], secret: str | None
) -> dict[str, Any]:
    from guildnet_cli.task_files import git_contexts

    if prompt == "-":
        prompt = typer.get_text_stream("stdin").read(1 << 20)
    spec: dict[str, Any] = {"prompt": prompt}
    entries: list[dict[str, Any]] = git_contexts(contexts)
    if secret is not None:
        for entry in entries:
            entry["git"]["secret"] = secret
    for text in texts:
        name, separator, words = text.partition("=")
        if not separator:
            raise typer.BadParameter("--text is NAME=TEXT")
        entries.append({"name": name, "text": words})
    if entries:
        spec["context"] = entries
    return spec


def rerun(
    task: TaskArgument,
    *,
    token: Annotated[
        str | None, typer.Option(help="The new value of rerun; the time of day by default.")
    ] = None,
    repo: CheckoutOption = Path(),
    commit: CommitOption = False,
    push: PushOption = False,
    propose: ProposeOption = False,
    forge_token_file: ForgeTokenOption = None,
) -> None:
    """Start one more run of the same words; of a cancelled task too."""
    from datetime import UTC, datetime

    token = token or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    # A run that begins cancelled would end at once.
    fields: dict[str, Scalar] = {"cancel": False, "rerun": token}
    saving = Saving(repo, commit, push, propose, forge_token_file)
    _edit(task, fields, f"Run {task} again", verb="rerun", saving=saving)


def cancel(
    task: TaskArgument,
    *,
    repo: CheckoutOption = Path(),
    commit: CommitOption = False,
    push: PushOption = False,
    propose: ProposeOption = False,
    forge_token_file: ForgeTokenOption = None,
) -> None:
    """End the run as Cancelled; its work is pushed, its record kept."""
    saving = Saving(repo, commit, push, propose, forge_token_file)
    _edit(task, {"cancel": True}, f"Cancel {task}", verb="cancel", saving=saving)


def suspend(
    task: TaskArgument,
    *,
    repo: CheckoutOption = Path(),
    commit: CommitOption = False,
    push: PushOption = False,
    propose: ProposeOption = False,
    forge_token_file: ForgeTokenOption = None,
) -> None:
    """Stop the pod and the clock; keep the workspace."""
    saving = Saving(repo, commit, push, propose, forge_token_file)
    _edit(task, {"suspend": True}, f"Suspend {task}", verb="suspend", saving=saving)


def resume(
    task: TaskArgument,
    *,
    repo: CheckoutOption = Path(),
    commit: CommitOption = False,
    push: PushOption = False,
    propose: ProposeOption = False,
    forge_token_file: ForgeTokenOption = None,
) -> None:
    """Go on with a suspended task."""
    saving = Saving(repo, commit, push, propose, forge_token_file)
    _edit(task, {"suspend": False}, f"Resume {task}", verb="resume", saving=saving)


def release(
    task: TaskArgument,
    *,
    repo: Annotated[
        str | None, typer.Option(metavar="URL-or-DIR", help="The state repository.")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Instead of the stored kubeconfig.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="The context in it.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Instead of the org's.")] = None,
) -> None:
    """Let a deleted AgentTask go although its last record is not on the status branch."""
    import asyncio

    from guildnet_cli.agents import release_finalizer
    from guildnet_cli.org_cluster import org_cluster

    org, name = split(task)
    cluster = org_cluster(
        org, repo=repo, kubeconfig=kubeconfig, context=context, namespace=namespace
    )
    say(asyncio.run(release_finalizer(cluster, name)))


def split(task: str) -> tuple[str, str]:
    """`ORG/TASK` as its two names; a usage error for anything else."""
    org, separator, name = task.partition("/")
    if not (separator and org and name) or "/" in name:
        raise typer.BadParameter(f"{task!r} is not ORG/TASK")
    return org, name


def _edit(
    task: str, fields: Mapping[str, Scalar], message: str, *, verb: str, saving: Saving
) -> None:
    from guildnet.resources import task_path
    from guildnet.work_tree import WorkTree
    from guildnet_cli.bounded import read_resource
    from guildnet_cli.task_files import with_spec_field

    path = task_path(*split(task))
    content = read_resource(saving.repo, path)
    edited = content
    for key, value in fields.items():
        edited = with_spec_field(edited, path, key, value)
    if edited == content:
        say(f"{path} says so already.")
        return
    saving.prepare()
    WorkTree(saving.repo).replace(path, edited)
    saving.save(path, message, verb=verb, task=task)
