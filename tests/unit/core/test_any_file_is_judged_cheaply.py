"""A file of at most 256 KiB is accepted or refused within 200 ms of CPU, whatever stands in it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guildnet.errors import InvalidResource
from guildnet.loading import MAX_FILE_BYTES, load_org, load_task
from guildnet.resources import Source
from guildnet.yaml_reader import MAX_NODES, parse_yaml

BOUND_SECONDS = 0.2
HEAD = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: x}\nspec:\n  prompt: hi\n"
UNNAMED = HEAD.replace("{name: x}", "{name: x, labels: {%s}}")


def judged(text: str, load: Callable[[bytes, Source], object] = load_task) -> list[str]:
    """The problems of a file of that text, cut to the largest size; it must be cheap to find
    them. The least of three tries counts: a busy machine costs CPU time too."""
    data = text.encode()[:MAX_FILE_BYTES]
    path = "tasks/acme/x.yaml" if load is load_task else "orgs/x.yaml"
    spent: list[float] = []
    problems: list[str] = []
    while len(spent) < 3 and min(spent, default=1.0) > BOUND_SECONDS:
        began = time.process_time()
        try:
            load(data, Source(path))
        except InvalidResource as error:
            problems = [str(problem) for problem in error.problems]
        spent.append(time.process_time() - began)
    assert min(spent) <= BOUND_SECONDS
    assert len(problems) <= 50
    assert all(len(problem) < 400 for problem in problems)
    return problems


def many(piece: str, count: int = MAX_FILE_BYTES) -> str:
    return piece * min(count, MAX_FILE_BYTES // len(piece))


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "  context: [" + many("{},"),
        HEAD + "  context: [" + many("a,"),
        HEAD + "  context:\n" + many("  -\n"),
        HEAD + "  context: [" + many("a: b,"),
        HEAD + "  agent: {env: [" + many("{},"),
        HEAD + "  agent: {command: [" + many("'',"),
        HEAD + "  dependsOn: [" + many("X,"),
        UNNAMED % ",".join(f"k{n}: '?'" for n in range(25000)),
        HEAD + "".join(f"  u{n}: 1\n" for n in range(25000)),
        "".join(f"? k{n}\n" for n in range(25000)),
        many("-\n"),
    ],
)
def test_more_values_than_a_resource_can_have_are_refused_early(text: str) -> None:
    (problem,) = judged(text)
    assert f"more than {MAX_NODES:,} values" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "  context: [" + many("{},", 4000) + "]", "spec.context: longer than 16"),
        (HEAD + "  dependsOn: [" + many("X,", 4000) + "]", "spec.dependsOn: longer than 64"),
        (HEAD + "  agent: {env: [" + many("{},", 4000) + "]}", "spec.agent.env: longer than 64"),
        (
            UNNAMED % ",".join(f"k{n}: '?'" for n in range(2000)),
            "metadata.labels: longer than 32",
        ),
        (HEAD + "  rerun: '" + many("a", 200_000) + "'", "spec.rerun: longer than 256"),
        (HEAD + "  timeout: '" + many("1", 200_000) + "'", "spec.timeout: longer than 32"),
    ],
)
def test_an_oversized_list_map_or_text_is_one_problem(text: str, words: str) -> None:
    (problem,) = judged(text)
    assert problem == f"tasks/acme/x.yaml:{problem.split(':')[1]}: {words}"


@pytest.mark.parametrize("line", ["%TAG !a{}! x\n", "%x{}\n", "%TAG !a{}! x\r"])
@pytest.mark.parametrize("before", ["", "# a comment\n", "a: b\n...\n"])
def test_directives_are_bounded(line: str, before: str) -> None:
    text = before + "".join(line.format(n) for n in range(20_000)) + "---\na: b\n"
    assert judged(text) == [
        "tasks/acme/x.yaml: more than 8 lines begin with %; remove the YAML directives"
    ]


def test_a_version_directive_and_per_cent_signs_in_text_are_read() -> None:
    text = "%YAML 1.2\n---\n" + HEAD.replace("hi", "|\n    %a\n") + "    %b\n" * 20
    assert judged(text) == []


def test_only_the_first_fifty_problems_are_looked_for() -> None:
    unknown = "".join(f"  contex{n}: 1\n" for n in range(2000))
    problems = judged(HEAD + unknown)
    assert len(problems) == 50
    assert "did you mean 'context'?" in problems[0]


@pytest.mark.parametrize(
    "text",
    [
        "? |\n " + many("a") + "\n: b\n",
        HEAD + "  " + many("x", 1000) + ": 1\n",
        HEAD + '  "' + many("\\u0041", 160) + '": 1\n',
        "a: !" + many("x") + " b",
        "a: !<" + many("%41") + "> b",
        "? |\n " + many("a", 100_000) + "\n: b\n? |\n " + many("a", 100_000) + "\n: c\n",
    ],
)
def test_long_names_are_cut_in_messages(text: str) -> None:
    assert judged(text)


def test_an_org_with_too_many_machines_is_one_problem() -> None:
    text = (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: x}\nspec:\n"
        "  cluster: {kubeconfig: x, namespace: agents}\n"
        "  talos: {endpoint: 'https://a', version: v1.13.0, kubernetesVersion: v1.36.0,\n"
        "    controlPlanes: [a], workers: [" + many("'',", 4000) + "]}\n"
    )
    (problem,) = judged(text, load_org)
    assert "spec.talos.workers: longer than 1024" in problem


def test_the_largest_resource_of_the_schema_has_room() -> None:
    sparse = ", ".join(["a"] * 64)
    contexts = "".join(
        f"    - {{name: c{n}, git: {{url: 'https://h/r', sparse: [{sparse}]}}}}\n"
        for n in range(16)
    )
    env = "".join(f"      - {{name: E{n}, secretKeyRef: {{name: s, key: k}}}}\n" for n in range(64))
    depends = ", ".join(f"t{n}" for n in range(64))
    text = (
        f"{HEAD}  context:\n{contexts}  agent:\n    command: [{sparse}]\n    env:\n{env}"
        f"  dependsOn: [{depends}]\n"
    )
    assert judged(text) == []
    _, lines = parse_yaml(text.encode(), "x")
    assert len(lines) < MAX_NODES // 2


TOKENS = r"""{} [] a ' " - ? : , { } [ ] | # &a *a !t \u0041 :// @ 1e9 %TAG --- ...
spec: context: env: name: labels: git: url: dependsOn:"""
PIECES = st.sampled_from(TOKENS.split())
GAPS = st.sampled_from(["", " ", "\n", "\n  ", "\r", "\t"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(PIECES, GAPS), min_size=1, max_size=8), st.booleans())
def test_whatever_is_repeated_is_cheap(pieces: list[tuple[str, str]], within_spec: bool) -> None:
    repeated = "".join(piece + gap for piece, gap in pieces)
    judged((HEAD + "  " if within_spec else "") + many(repeated))
