"""Preparing: fetch contexts into the exchange, then hand the job to the shim."""

from __future__ import annotations

import os
from dataclasses import replace

from guildnet.agent_api.state import ContextProgress, Failure
from guildnet.errors import ConfigurationError, ForgeRefused, ForgeUnavailable
from guildnet_agent.job import Job, JobContext, JobVerify
from guildnet_agent.presets.registry import check_preset
from guildnet_agent.supervisor.contexts.fetch import ContextFailed, prepare_contexts
from guildnet_agent.supervisor.progress import Progress, job_data
from guildnet_agent.supervisor.publication import Target, choose_branch, read_target
from guildnet_agent.supervisor.step_context import StartFailed, StepContext
from guildnet_agent.supervisor.steps.arguments import check_arguments
from guildnet_agent.supervisor.task import Spec, author


async def prepare(progress: Progress, ctx: StepContext) -> Progress:
    """Journal the job; the progress with it. Raises StartFailed."""
    _refuse_early_result(progress, ctx)
    agent = progress.spec.get("agent", {})
    try:
        endpoint = ctx.models.endpoint()
        offered = endpoint.protocols if endpoint else None
        preset = check_preset(agent.get("preset"), agent.get("command"), offered)
        model = ctx.models.job_model(progress.spec, endpoint) if endpoint else None
        check_arguments(agent.get("command", ()), str(progress.spec["prompt"]))
        target = read_target(progress.spec, progress.id.run, ctx.source)
    except ConfigurationError as error:
        reason = "InvalidSpec" if error.place else "ContextFailed"
        raise StartFailed(Failure(reason, ctx.redact(str(error)))) from error
    target, contexts = await _read_contexts(progress, target, ctx)
    name, email = author(progress.spec)
    job = Job(
        id=progress.id,
        command=tuple(agent.get("command", ())),
        prompt=str(progress.spec["prompt"]),
        contexts=contexts,
        publish=target.context if target else None,
        trailer=ctx.source.task.trailer(progress.id.run),
        author_name=name,
        author_email=email,
        preset=preset.name,
        model=model,
        verify=_verify(progress.spec),
    )
    branch = target.branch.name if target else None
    may_continue = bool(target and target.branch.may_continue)
    ctx.journal.append("handed_over", progress.id, job_data(job, branch, may_continue))
    ctx.models.forget_notices()
    return replace(progress, job=job, branch=branch, may_continue=may_continue)


def _verify(spec: Spec) -> JobVerify | None:
    given = spec.get("verify")
    return JobVerify(tuple(given["command"]), int(given.get("rounds", 1))) if given else None


def _refuse_early_result(progress: Progress, ctx: StepContext) -> None:
    """A command can guess the folder of its next start and leave a forged result there."""
    if os.path.lexists(ctx.exchange_out / progress.id.folder):
        text = (
            f"the work container wrote to the folder of {progress.id} "
            "before that start was handed over"
        )
        raise StartFailed(Failure("TaskFailed", text))


async def _read_contexts(
    progress: Progress, target: Target | None, ctx: StepContext
) -> tuple[Target | None, tuple[JobContext, ...]]:
    """Choose the branch for the work, and fetch every context."""
    try:
        target = target and await choose_branch(target, progress.spec.get("continues"))
        contexts = await prepare_contexts(
            list(progress.spec.get("context", ())),
            target.context if target else None,
            target.branch if target else None,
            ctx.source,
            lambda report: _report_context(report, ctx),
        )
    except ContextFailed as error:
        failure = Failure("ContextFailed", ctx.redact(str(error)), error.infrastructure)
        raise StartFailed(failure) from error
    except (ForgeUnavailable, ForgeRefused) as error:
        is_away = isinstance(error, ForgeUnavailable)
        failure = Failure("ForgeRefused", ctx.redact(str(error)), is_away)
        raise StartFailed(failure) from error
    return target, contexts


def _report_context(report: ContextProgress, ctx: StepContext) -> None:
    report = replace(report, message=ctx.redact(report.message))
    contexts = tuple(
        report if item.name == report.name else item for item in ctx.board.state.contexts
    )
    ctx.board.change(contexts=contexts)
