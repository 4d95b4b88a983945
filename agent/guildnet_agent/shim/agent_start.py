"""From a job to what is started: the preset's program, its files, its environment."""

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
"""Below the workspace, beside the checkouts: no context can have this name."""


@dataclass(frozen=True)
class AgentStart:
    """``resumes``: an earlier start of this run left a session, which goes on."""

    preset: Preset
    invocation: Invocation
    resumes: bool

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """``environ`` with what the preset sets; only what keeps agents quiet may be overridden."""
        own = {
            name: value
            for name, value in self.invocation.environ.items()
            if not (name in QUIET and name in environ)
        }
        return {**environ, **own}

    def write_files(self) -> None:
        """OSError where one cannot be written."""
        for folder in self.invocation.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for path, text in self.invocation.files.items():
            write_atomic(path, text.encode())


def plan_start(job: Job, settings: Settings, prompt_file: Path) -> AgentStart:
    """What to start for a job. ConfigurationError for an unknown preset.

    ``prompt_file`` holds the task; a resumed session is given a short prompt instead, in a file
    beside it.
    """
    preset = find_preset(job.preset)
    state = settings.workspace / SESSIONS / preset.name / f"r{job.id.run}"
    session = re.sub(r"[^a-z0-9-]", "-", job.trailer)[:63].strip("-")
    places = Places(settings.home, state, prompt_file, session)
    resumes = preset.has_session(places)
    prompt = job.prompt
    if resumes:
        prompt = continue_prompt(prompt_file)
        places = Places(settings.home, state, prompt_file.with_name("prompt.continue"), session)
        write_atomic(places.prompt_file, prompt.encode())
    access = _access(job, preset)
    invocation = preset.invoke(job.command, access, places, resume=resumes, prompt=prompt)
    return AgentStart(preset, invocation, resumes)


def _access(job: Job, preset: Preset) -> ModelAccess | None:
    """The model by the protocol that the preset prefers; a command of one's own gets the first."""
    model = job.model
    if model is None:
        return None
    protocol = choose_protocol(preset.protocols or model.protocols, model.protocols)
    return ModelAccess(protocol or model.protocols[0], model.base_url, model.name, model.key)
