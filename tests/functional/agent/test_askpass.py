"""The askpass program answers only for one host, whatever the prompt looks like (I8)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from guildnet_agent.supervisor.git.askpass import install_askpass


def ask(folder: Path, question: str, scheme: str = "https", host: str = "git.example:8443") -> str:
    secret = folder / "secret"
    secret.write_text("TOKEN\n")
    environ = {
        "PATH": os.environ["PATH"],
        "GUILDNET_ASKPASS_SCHEME": scheme,
        "GUILDNET_ASKPASS_HOST": host,
        "GUILDNET_ASKPASS_USER": "bot",
        "GUILDNET_ASKPASS_FILE": str(secret),
    }
    done = subprocess.run(
        [install_askpass(folder), question],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == bool(done.stdout)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Username for 'https://git.example:8443': ", "bot"),
        ("Password for 'https://bot@git.example:8443': ", "TOKEN"),
        ("Password for 'https://me@h.example@git.example:8443': ", "TOKEN"),
        ("Password for 'https://me%40h.example@git.example:8443': ", "TOKEN"),
    ],
)
def test_prompts_of_the_secrets_host_are_answered(
    tmp_path: Path, question: str, answer: str
) -> None:
    assert ask(tmp_path, question) == answer


@pytest.mark.parametrize(
    "question",
    [
        "Username for 'https://evil': ",
        "Password for 'https://bot@evil': ",
        "Password for 'http://bot@git.example:8443': ",
        "Password for 'https://bot@git.example': ",
        "Password for 'https://bot@evil.git.example:8443': ",
        "Password for 'https://x@git.example:8443'@evil': ",
        "Username for 'https://git.example:8443'@evil': ",
        "Password for 'https://evil/'x@git.example:8443': ",
        "Password for 'https://evil/@git.example:8443': ",
        "Password for 'https://a b@git.example:8443': ",
        "Password for 'https://a\nb@git.example:8443': ",
        "Enter passphrase for key '/x': ",
        "Password for 'https://bot@git.example:8443'",
        "",
    ],
)
def test_other_prompts_get_no_answer(tmp_path: Path, question: str) -> None:
    assert ask(tmp_path, question) == ""


def test_a_host_that_redirects_from_http_to_https_is_answered(tmp_path: Path) -> None:
    assert ask(tmp_path, "Username for 'https://h': ", "http", "h") == "bot"
    assert ask(tmp_path, "Username for 'http://h': ", "http", "h") == "bot"
    assert ask(tmp_path, "Username for 'http://h': ", "https", "h") == ""


def test_shell_patterns_in_a_host_match_only_that_host(tmp_path: Path) -> None:
    assert ask(tmp_path, "Username for 'https://evil': ", host="*") == ""
    assert ask(tmp_path, "Username for 'https://[::1]:3000': ", host="[::1]:3000") == "bot"
