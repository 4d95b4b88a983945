"""The command lines, environment and files of each preset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guildnet.errors import ConfigurationError
from guildnet_agent.presets.preset import Invocation, ModelAccess, Places, choose_protocol
from guildnet_agent.presets.registry import PRESETS, check_preset

KEY = "gn-key-of-this-start"
URL = "http://127.0.0.1:8486"
AGENTS = [name for name, preset in PRESETS.items() if preset.protocols]


def places(folder: Path) -> Places:
    return Places(folder / "home", folder / "state", folder / "prompt", "acme-fix-1")


def invoke(name: str, folder: Path, *, resume: bool = False, protocol: str = "") -> Invocation:
    preset = PRESETS[name]
    access = ModelAccess(protocol or preset.protocols[0], URL, "model-one", KEY)
    return preset.invoke((), access, places(folder), resume=resume, prompt="- do it")


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_gets_gateway_key_model_and_prompt(name: str, tmp_path: Path) -> None:
    made = invoke(name, tmp_path)
    assert made.argv[0] in PRESETS[name].programs
    assert made.stdin == tmp_path / "prompt", "one argument is at most 128 KiB"
    assert "- do it" not in made.argv
    assert KEY in made.environ.values()
    assert not any(KEY in word for word in made.argv), "arguments are visible to every process"
    assert not any(KEY in text for text in made.files.values())
    everything = " ".join([*made.argv, *made.environ.values(), *made.files.values()])
    assert URL in everything
    assert "model-one" in everything
    assert made.environ["GIT_ALLOW_PROTOCOL"] == "file"


@pytest.mark.parametrize("name", AGENTS)
def test_session_state_lies_in_its_own_folder(name: str, tmp_path: Path) -> None:
    made = invoke(name, tmp_path)
    state = tmp_path / "state"
    assert state in made.folders
    assert any(str(state) in word for word in [*made.argv, *made.environ.values()])
    for path in made.files:
        assert path.is_relative_to(state) or path.is_relative_to(tmp_path / "home")


SESSIONS = {
    "claude-code": "projects/-workspace-web/0b6c.jsonl",
    "codex": "sessions/2026/11/26/rollout-1.jsonl",
    "pi": "2026_acme-fix-1.jsonl",
    "gemini": ".gemini/tmp/web/chats/session-1.jsonl",
    "opencode": "opencode/opencode.db",
}


@pytest.mark.parametrize("name", AGENTS)
def test_a_session_is_found_and_gone_on_with(name: str, tmp_path: Path) -> None:
    preset, where = PRESETS[name], places(tmp_path)
    assert not preset.has_session(where)
    session = where.state / SESSIONS[name]
    session.parent.mkdir(parents=True)
    session.touch()
    assert preset.has_session(where)
    words = invoke(name, tmp_path, resume=True).argv
    assert {"--continue", "resume", "--session-id", "--resume"} & set(words)


@pytest.mark.parametrize(
    ("protocol", "api", "url"),
    [
        ("openai-chat", "openai-completions", f"{URL}/v1"),
        ("openai-responses", "openai-responses", f"{URL}/v1"),
        ("anthropic", "anthropic-messages", URL),
    ],
)
def test_pi_speaks_three_protocols(protocol: str, api: str, url: str, tmp_path: Path) -> None:
    made = invoke("pi", tmp_path, protocol=protocol)
    (text,) = made.files.values()
    provider = json.loads(text)["providers"]["guildnet"]
    assert (provider["api"], provider["baseUrl"]) == (api, url)


def test_a_command_of_ones_own_finds_the_model_in_the_usual_variables(tmp_path: Path) -> None:
    shell = PRESETS["shell"]
    for protocol, name, url in (
        ("anthropic", "ANTHROPIC", URL),
        ("openai-chat", "OPENAI", f"{URL}/v1"),
    ):
        access = ModelAccess(protocol, URL, "model-one", KEY)
        made = shell.invoke(
            ["run", "{prompt}", "x{prompt}"], access, places(tmp_path), resume=False, prompt="p; rm"
        )
        assert made.argv == ("run", "p; rm", "x{prompt}")
        assert made.environ[f"{name}_BASE_URL"] == url
        assert made.environ[f"{name}_API_KEY"] == KEY
        assert made.environ["GUILDNET_MODEL_NAME"] == "model-one"
    assert shell.invoke(["x"], None, places(tmp_path), resume=False, prompt="").environ == {}


def test_the_first_fitting_protocol_is_chosen() -> None:
    assert choose_protocol(("a", "b"), ("b", "a")) == "a"
    assert choose_protocol(("a", "b"), ("c", "b")) == "b"
    assert choose_protocol(("a",), ("c",)) is None


@pytest.mark.parametrize(
    ("name", "command", "offered", "message"),
    [
        ("wizard", ["true"], None, "unknown preset 'wizard'"),
        ("shell", [], None, "the task gives none"),
        (None, [], ["anthropic"], "the task gives none"),
        ("pi", None, None, "needs a model"),
        ("codex", None, ["anthropic", "gemini"], "the task's model anthropic, gemini"),
    ],
)
def test_a_task_gives_what_its_preset_needs(
    name: str | None, command: list[str] | None, offered: list[str] | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_preset(name, command, offered)


def test_a_fitting_task_is_accepted() -> None:
    assert check_preset(None, ["true"], None).name == "shell"
    assert check_preset("codex", None, ["anthropic", "openai-responses"]).name == "codex"
