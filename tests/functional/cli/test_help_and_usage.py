"""Every verb has help with an example; wrong usage exits with 2, failure with 1."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import typer

from guildnet_cli.main import app

if TYPE_CHECKING:
    from tests.functional.cli.conftest import Guildnet


def verbs() -> list[str]:
    """All verbs, with those of groups such as `task new`."""

    def below(command: Any, words: tuple[str, ...]) -> list[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return [" ".join(words)]
        return [verb for name, child in inner.items() for verb in below(child, (*words, name))]

    return below(typer.main.get_command(app), ())


def test_all_verbs_exist() -> None:
    assert {
        *("init", "validate", "schema", "plan", "sync", "status", "logs", "editor", "doctor"),
        *("org add", "org install", "secret set"),
        *(f"task {v}" for v in ("new", "rerun", "cancel", "suspend", "resume", "release")),
        *("reconciler", "operator", "agent", "dashboard"),
    } <= set(verbs())


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    from typer.testing import CliRunner

    answer = CliRunner().invoke(app, [*verb.split(), "--help"])
    assert answer.exit_code == 0
    assert f"Example:\n    guildnet {verb}" in answer.output


@pytest.mark.parametrize("verb", ["devcluster", "demo", "talos"])
def test_late_verbs_are_listed_and_have_help(guildnet: Guildnet, verb: str) -> None:
    assert f"\n  {verb} " in guildnet("--help").out
    answer = guildnet(verb, "--help")
    assert answer.code == 0
    assert "Usage: guildnet" in answer.out


@pytest.mark.parametrize(
    "group",
    [
        (),
        *[(group,) for group in ("org", "secret", "task", "talos", "mesh", "notify", "devcluster")],
    ],
)
def test_the_summary_of_each_verb_fits_on_its_line(
    guildnet: Guildnet, group: tuple[str, ...]
) -> None:
    summaries = guildnet(*group, "--help").out.partition("\nCommands:\n")[2]
    assert summaries
    assert "..." not in summaries


def test_arguments_after_the_cluster_name_belong_to_kubectl(guildnet: Guildnet) -> None:
    text = guildnet("devcluster", "kubectl", "--help").out
    assert "Usage: guildnet devcluster kubectl [OPTIONS] {NAME} [ARGUMENT]...\n" in text
    assert "guildnet devcluster kubectl acme get pods -A" in text
    # --help is not for this command, which looks for the cluster.
    asked = guildnet("devcluster", "kubectl", "nowhere", "get", "pods", "-A", "--help")
    assert asked.code == 1
    assert "the cluster does not exist" in asked.err


def test_help_imports_no_component_and_no_client(guildnet: Guildnet) -> None:
    """So that `guildnet --help` answers at once."""
    import subprocess
    import sys

    code = (
        "import sys, guildnet_cli.main as m\n"
        "heavy = {'kubernetes', 'git', 'fastapi', 'kopf', 'jsonschema', 'yaml', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    began = time.monotonic()
    assert guildnet("--help").code == 0
    assert time.monotonic() - began < 5  # a loaded machine; 0.3 s on an idle one


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-verb"],
        ["task", "new", "acme", "--prompt", "x"],
        ["task", "rerun", "a/b/c"],
        ["status", "/x"],
        ["validate", "-o", "xml"],
        ["reconciler", "--repo", ".", "--poll", "soon"],
        ["reconciler", "--repo", ".", "--shards", "2", "--shard", "2"],
        ["secret", "set", "acme", "x", "--use", "git", "--key", "nonsense"],
        ["secret", "set", "acme", "x", "--use", "mesh", "--host", "h", "--key", "token"],
        ["task", "cancel", "acme/x", "--push", "--propose"],
        ["task", "cancel", "acme/x", "--forge-token-file", "x"],
        ["demo", "--kubeconfig", "acme"],
        ["demo", "--kubeconfig", "initech=x"],
        ["demo", "--kubeconfig", "acme=/dev/null/none"],
        ["demo", "--image", "x:1"],
    ],
)
def test_wrong_usage_exits_with_2(guildnet: Guildnet, arguments: list[str]) -> None:
    answer = guildnet(*arguments)
    assert answer.code == 2
    assert "Error" in answer.err
    assert answer.out == ""


def test_a_failure_is_one_message_with_place_and_cure(guildnet: Guildnet) -> None:
    """I10: place, cause and what to do, on standard error; nothing on standard output."""
    answer = guildnet("status")
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.startswith("guildnet: ")
    assert "not in a checkout of a state repository" in answer.err
    assert "what to do: " in answer.err
