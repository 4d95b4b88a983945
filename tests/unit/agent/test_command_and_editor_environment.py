"""Arguments and environment of command and editor."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from guildnet.agent_api.state import StartId
from guildnet_agent.job import Job
from guildnet_agent.settings import Settings, read_settings
from guildnet_agent.shim.command import command_environment
from guildnet_agent.shim.editor import editor_command
from guildnet_agent.shim.main import secret_values

JOB = Job(StartId(2, 3, 1), ("true",), "the prompt", (), None, "acme/fix/2", "A", "a@example.com")
DOCS = Path(__file__).parents[3] / "docs" / "agent.md"


def test_the_command_gets_its_job_but_not_the_editors_password() -> None:
    """I8."""
    given = {
        "PASSWORD": "secret",
        "MODEL_KEY": "key",
        "GUILDNET_REDACT": "MODEL_KEY",
        "GIT_AUTHOR_NAME": "Mine",
        "PYTHONPATH": f"{Path(__file__).parents[3] / 'agent'}:/other",
    }
    environ = command_environment(given, JOB, Settings(), Path("/p"))
    assert "PASSWORD" not in environ
    assert "GUILDNET_REDACT" not in environ
    assert environ["MODEL_KEY"] == "key"
    assert environ["GUILDNET_PROMPT"] == "the prompt"
    assert environ["GUILDNET_PROMPT_FILE"] == "/p"
    assert (environ["GUILDNET_RUN"], environ["GUILDNET_ATTEMPT"]) == ("2", "3")
    assert environ["GIT_AUTHOR_NAME"] == "Mine"
    assert environ["GIT_COMMITTER_NAME"] == "A"
    assert environ["PYTHONPATH"] == "/other"


def test_a_prompt_too_large_for_a_variable_is_only_in_its_file() -> None:
    job = replace(JOB, prompt="x" * 200_000)
    assert "GUILDNET_PROMPT" not in command_environment({}, job, Settings(), Path("/p"))


def test_the_editor_requires_its_password_and_sends_no_telemetry() -> None:
    command = editor_command(Settings(editor_suffix="fix-acme"))
    assert command[:3] == ["code-server", "--bind-addr", "0.0.0.0:8443"]
    assert command[command.index("--auth") + 1] == "password"
    assert {"--disable-telemetry", "--disable-update-check"} <= set(command)
    assert command[command.index("--cookie-suffix") + 1] == "fix-acme"
    assert command[-1] == "/workspace"


def test_values_to_redact_come_from_the_environment() -> None:
    environ = {"GUILDNET_REDACT": "A, B,", "A": "one", "B": "", "C": "three", "PASSWORD": "four"}
    assert secret_values(environ) == ["one", "four"]


def test_settings_come_from_the_environment_and_the_docs_list_each() -> None:
    settings = read_settings({"GUILDNET_PORT": "9", "HOME": "/h", "GUILDNET_EDITOR": "0"})
    assert (settings.port, settings.home, settings.editor) == (9, Path("/h"), False)
    assert read_settings({}) == Settings()
    with pytest.raises(ValueError, match="GUILDNET_PORT"):
        read_settings({"GUILDNET_PORT": "-1"})
    documented = DOCS.read_text()
    for field in fields(Settings):
        assert f"| `{field.name.upper()}`" in documented
