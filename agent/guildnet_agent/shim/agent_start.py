"""Plans how to start a job's agent: the preset's program, files and environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from guildnet_agent.exchange import write_atomic
from guildnet_agent.job import Job
from guildnet_agent.presets.preset import (
    QUIET,
    Invocation,
    ModelAccess,
    Places,
    Preset,
    choose_protocol,
    continue_prompt,
)
from guildnet_agent.presets.registry import find_preset
from guildnet_agent.settings import Settings

SESSIONS = ".guildnet"
"""A folder in the workspace; no context can have this name."""


@dataclass(frozen=True)
class AgentStart:
    """``resumes``: continue the session that an earlier start of this run left. ``prompt`` is what
    this start is asked, and is in ``prompt_file``."""

    preset: Preset
    invocation: Invocation
    resumes: bool
    prompt: str
    prompt_file: Path

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` plus the preset's variables; the task may override only those in QUIET."""
        own = {
            name: value
            for name, value in self.invocation.environ.items()
            if not (name in QUIET and name in environ)
        }
        return {**environ, **own}

    def write_files(self) -> None:
        """Write the files of the preset. Raises OSError."""
        for folder in self.invocation.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in self.invocation.files.items():
            write_atomic(path, text.encode())


def plan_start(
    job: Job, settings: Settings, prompt_file: Path, feedback: str | None = None
) -> AgentStart:
    """Plan the start of a job. ConfigurationError for an unknown preset.

    ``prompt_file`` contains the prompt. A resumed session gets a short prompt instead, in a second
    file next to it: to continue, or ``feedback`` on what it did. Without a session, the feedback
    follows the whole prompt.
    """
    preset = find_preset(job.preset)
    state = settings.workspace / SESSIONS / preset.name / f"r{job.id.run}"
    session = re.sub(r"[^a-z0-9-]", "-", job.trailer)[:63].strip("-")
    places = Places(settings.home, state, prompt_file, session)
    resumes = preset.has_session(places)
    prompt = job.prompt if feedback is None else f"{job.prompt}\n\n{feedback}"
    if resumes:
        prompt = feedback or continue_prompt(prompt_file)
    if prompt != job.prompt:
        places = Places(settings.home, state, prompt_file.with_name("prompt.continue"), session)
        write_atomic(places.prompt_file, prompt.encode())
    access = _access(job, preset)
    invocation = preset.invoke(job.command, access, places, resume=resumes, prompt=prompt)
    return AgentStart(preset, invocation, resumes, prompt, places.prompt_file)


def _access(job: Job, preset: Preset) -> ModelAccess | None:
    """The model, with the protocol that the preset prefers; a plain command gets the first one."""
    model = job.model
    if model is None:
        return None
    protocol = choose_protocol(preset.protocols or model.protocols, model.protocols)
    return ModelAccess(protocol or model.protocols[0], model.base_url, model.name, model.key)
