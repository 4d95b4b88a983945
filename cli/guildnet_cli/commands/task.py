"""`guildnet task ...`: each verb edits the task's file; `release` edits the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guildnet_cli.options import ClusterOptions, TaskArgument, options, split_task
from guildnet_cli.output import examples, say
from guildnet_cli.repository.saving import Saving

if TYPE_CHECKING:
    from collections.abc import Callable

    from guildnet_cli.cluster.org_cluster import OrgCluster
    from guildnet_cli.repository.task_file import Scalar


@dataclass(frozen=True)
class _Edit:
    """A verb that sets fields of a task's spec."""

    verb: str
    help: str
    fields: dict[str, Scalar]
    message: str
    """The commit's subject."""


_RERUN = _Edit(
    "rerun",
    "Run the task once more, unchanged. Also restarts a cancelled task.",
    {"cancel": False},  # a run of a task that is still cancelled would end at once
    "Rerun {task}",
)
_EDITS = (
    _Edit(
        "cancel",
        "Cancel the current run. Its work is pushed and its record kept.",
        {"cancel": True},
        "Cancel {task}",
    ),
    _Edit(
        "suspend",
        "Suspend the task. Its pod and its timeout stop; its workspace is kept.",
        {"suspend": True},
        "Suspend {task}",
    ),
    _Edit("resume", "Resume a suspended task.", {"suspend": False}, "Resume {task}"),
)


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        help="Create, rerun, cancel, suspend and resume tasks.",
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
    _add(group, _RERUN, rerun)
    for edit in _EDITS:
        _add(group, edit, _verb(edit))
    group.command(epilog=examples("guildnet task release acme/fix-login"))(release)
    app.add_typer(group, name="task")


def _add(group: typer.Typer, edit: _Edit, verb: Callable[..., None]) -> None:
    example = examples(f"guildnet task {edit.verb} acme/fix-login --push")
    group.command(edit.verb, help=edit.help, epilog=example)(verb)


@options(saving=Saving)
def new(
    task: TaskArgument,
    *,
    prompt: Annotated[
        str, typer.Option(help="What the agent is asked to do; - reads it from standard input.")
    ],
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]URL[#REF]", help="A git repository to work on. Repeatable."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="A text to give to the agent. Repeatable."),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            help="The agent's command, run by sh with the prompt as $0. Default: the org's command."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="The coding agent to run, such as codex. Default: the org's preset."),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The Secret with credentials for every --context."),
    ] = None,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Open a pull request from the first --context.")
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="The timeout of one attempt, such as 30m."),
    ] = None,
    saving: Saving,
) -> None:
    """Create a task: write tasks/ORG/TASK.yaml.

    Give --preset or --command unless the org's file does.
    """
    from guildnet.errors import ConfigurationError
    from guildnet.work_tree import WorkTree
    from guildnet_cli.repository import task_file

    org, name = split_task(task)
    spec = _new_spec(prompt, context or [], text or [], secret)
    if preset is not None and command is not None:
        raise typer.BadParameter("give --preset or --command, not both")
    if preset is not None:
        spec["agent"] = {"preset": preset}
    if command is not None:
        spec["agent"] = {"command": ["sh", "-c", command, "{prompt}"]}
    if pull_request:
        if not context:
            raise typer.BadParameter("--pull-request requires a --context to publish")
        spec["pullRequest"] = {"context": spec["context"][0]["name"]}
    if timeout is not None:
        spec["timeout"] = timeout
    path, content = task_file.new_task(org, name, spec)
    _check_can_start(saving.repo, org, path, content)
    forge = saving.find_forge()
    if not WorkTree(saving.repo).create(path, content):
        raise ConfigurationError(
            "the task already exists", place=path, cure="Edit its file, or choose another name."
        )
    saving.save(path, f"Add task {task}", forge=forge, branch_prefix=f"new-{org}-{name}")


def _check_can_start(repo: Path, org: str, path: str, content: bytes) -> None:
    """Raise ConfigurationError where the org is missing, or no command or preset is given."""
    from guildnet.errors import ConfigurationError, InvalidResource
    from guildnet.loading import load_org, load_task
    from guildnet.merge import RunRef, agent_task_spec
    from guildnet.resources import Source, org_path
    from guildnet.work_tree import WorkTree
    from guildnet_cli.repository.resources import read_resource

    place = org_path(org)
    if WorkTree(repo).kind(place) is None:
        raise ConfigurationError(
            f"org {org} not found",
            place=str(repo / place),
            cure="Run this in a checkout of the state repository or give --repo; add an org with "
            "`guildnet org add`.",
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
    from guildnet_cli.repository.task_file import git_contexts

    if prompt == "-":
        prompt = typer.get_text_stream("stdin").read(1 << 20)
    spec: dict[str, Any] = {"prompt": prompt}
    entries: list[dict[str, Any]] = git_contexts(contexts)
    if secret is not None:
        for entry in entries:
            entry["git"]["secret"] = secret
    for given in texts:
        name, separator, text = given.partition("=")
        if not separator:
            raise typer.BadParameter(f"--text {given!r} is not NAME=TEXT")
        entries.append({"name": name, "text": text})
    if entries:
        spec["context"] = entries
    return spec


@options(saving=Saving)
def rerun(
    task: TaskArgument,
    *,
    token: Annotated[
        str | None, typer.Option(help="The new value of spec.rerun. Default: the current time.")
    ] = None,
    saving: Saving,
) -> None:
    from datetime import UTC, datetime

    token = token or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    _apply(_RERUN, task, {**_RERUN.fields, "rerun": token}, saving)


def _verb(edit: _Edit) -> Callable[..., None]:
    @options(saving=Saving)
    def verb(task: TaskArgument, *, saving: Saving) -> None:
        _apply(edit, task, edit.fields, saving)

    return verb


def _apply(edit: _Edit, task: str, fields: dict[str, Scalar], saving: Saving) -> None:
    from guildnet.resources import task_path
    from guildnet.work_tree import WorkTree
    from guildnet_cli.repository.resources import read_resource
    from guildnet_cli.repository.task_file import with_spec_field

    org, name = split_task(task)
    path = task_path(org, name)
    content = read_resource(saving.repo, path)
    edited = content
    for key, value in fields.items():
        edited = with_spec_field(edited, path, key, value)
    if edited == content:
        say(f"{path} unchanged")
        return
    forge = saving.find_forge()
    WorkTree(saving.repo).replace(path, edited)
    message = edit.message.format(task=task)
    saving.save(path, message, forge=forge, branch_prefix=f"{edit.verb}-{org}-{name}")


@options(cluster=ClusterOptions)
def release(task: TaskArgument, *, cluster: ClusterOptions) -> None:
    """Remove the finalizer of an AgentTask that is being deleted.

    Use it when the deletion hangs because no reconciler can record the task's last result. That
    result is lost.
    """
    import asyncio

    org, name = split_task(task)
    say(asyncio.run(_release(cluster.of(org), name)))


async def _release(cluster: OrgCluster, name: str) -> str:
    """Returns what was done. An AgentTask that is not being deleted keeps its finalizer: its
    record is still to be written (I6)."""
    from guildnet import kube, labels

    task = f"{cluster.org}/{name}"
    async with cluster.client() as client:
        found = await cluster.find_agent_task(client, name)
        if found is None:
            return f"{task}: AgentTask not found; nothing changed"
        meta = found["metadata"]
        kept = [f for f in meta.get("finalizers", ()) if f != labels.RECORDED_FINALIZER]
        if "deletionTimestamp" not in meta:
            return f"{task}: AgentTask is not being deleted; nothing changed"
        if kept == meta.get("finalizers", []):
            return f"{task}: AgentTask does not carry GuildNet's finalizer; nothing changed"
        patch = {"metadata": {"finalizers": kept, "resourceVersion": meta["resourceVersion"]}}
        await client.patch(
            kube.AGENT_TASKS, name, patch, cluster.namespace, field_manager="guildnet-cli"
        )
        return f"{task}: finalizer removed; its last record may be missing"
