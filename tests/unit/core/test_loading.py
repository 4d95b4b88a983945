"""Bytes to resources: every problem with its line, bounded whatever the input."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.digest import canonical_json, readable_json
from guildnet.errors import InvalidResource, Problem
from guildnet.loading import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    Place,
    ResourcePath,
    line_of,
    load_org,
    load_task,
    parse_path,
    parse_yaml,
    path_problem,
)
from guildnet.resources import Source

PATH = "tasks/acme/fix.yaml"
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def problems(text: str | bytes, path: str = PATH) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidResource) as refused:
        load_task(data, Source(path))
    return list(map(str, refused.value.problems))


def parsed(text: str) -> Any:
    return parse_yaml(text.encode(), PATH)[0]


@given(VALUES)
def test_json_is_read_as_it_is(value: Any) -> None:
    """JSON is YAML: whatever can be written is read back the same."""
    for data in (canonical_json(value), readable_json(value)):
        assert parse_yaml(data, PATH)[0] == value


@given(VALUES)
def test_each_place_stands_on_its_line(value: Any) -> None:
    text = json.dumps({"top": value}, indent=1, ensure_ascii=False)
    found, lines = parse_yaml(text.encode(), PATH)
    written = text.split("\n")
    for place, line in lines.items():
        if place and isinstance(place[-1], str):
            assert json.dumps(place[-1], ensure_ascii=False) in written[line - 1]
    assert found == {"top": value}


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_anything_is_a_value_or_problems_and_never_a_crash(data: bytes) -> None:
    """I9."""
    refused: tuple[Problem, ...] = (Problem(PATH, 0, "none"),)
    try:
        parse_yaml(data, PATH)
    except InvalidResource as error:
        refused = error.problems
    assert refused
    assert all(p.path == PATH and p.line >= 0 and p.message for p in refused)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("no", "on", "off", "y", "12:30", "2026-01-01", "0x10", "=")],
        *[("true", True), ("False", False), ("null", None), ("~", None), ("''", "")],
        *[("12", 12), ("-3", -3), ("1.5", 1.5), ("1e3", 1000.0), ("'12'", "12"), ("1_0", "1_0")],
        ("9" * 30, "9" * 30),
        ("|\n a\n b\n", "a\nb\n"),
    ],
)
def test_words_stay_what_was_written(text: str, value: object) -> None:
    """YAML 1.2's core schema: no Norway, no sexagesimals, no dates."""
    found = parsed(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", ":2: duplicate key 'a'"),
        ("x:\n  b: 1\n  'b': 2\n", ":3: duplicate key 'b'"),
        ("a: &x 1\nb: *x\n", ":1: anchors and aliases"),
        ("a: 1\n---\nb: 1\n", ":2: more than one document"),
        ("a: !!python/object:os.system x\n", ":1: the tag"),
        ("a: !include /etc/passwd\n", ":1: the tag"),
        ("? [a]\n: 1\n", ":1: a key must be a word"),
        ("<<: {a: 1}\n", ""),
        ("", ":1: the file is empty"),
        ("# only words\n", ":1: the file is empty"),
        ("a: [1\nb: 2\n", "not valid YAML"),
        ("a:\n\t- 1\n", ":2: not valid YAML"),
        ("a: \x07\n", "not valid YAML"),
    ],
)
def test_unsupported_yaml_is_refused(text: str, message: str) -> None:
    """I9: no code, no files, no bombs, one object."""
    assert message in problems(text)[0]


def test_bytes_that_are_no_text() -> None:
    assert problems(b"a: 1\nb: \xff\xfe\n") == [f"{PATH}:2: not UTF-8 text"]


def test_size_and_depth_are_bounded() -> None:
    """I9."""
    assert "at most 262,144 are read" in problems(b"a" * (MAX_FILE_BYTES + 1))[0]
    assert f"nested more than {MAX_DEPTH} deep" in problems("[" * 100_000)[0]
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parsed(deepest) is not None


def test_all_problems_are_reported_at_once_in_order() -> None:
    """I10."""
    text = (
        "apiVersion: guildnet.io/v1\n"
        "kind: Task\n"
        "metadata:\n"
        "  name: Fix\n"
        "spec:\n"
        "  promt: x\n"
        "  retries: many\n"
        "  timeout: soon\n"
        "  context:\n"
        "    - name: a\n"
        "      text: x\n"
        "      configMap: y\n"
        "  onChange: Maybe\n"
    )
    found = problems(text)
    assert [line.split(":")[1] for line in found] == ["1", "4", "5", "6", "7", "8", "10", "13"]
    assert found[3] == f"{PATH}:6: spec: unknown field 'promt'; did you mean 'prompt'?"
    assert found[2] == f"{PATH}:5: spec: missing field 'prompt'"
    assert found[5].endswith("'soon' is not a duration such as 90s, 10m, 2h or 1h30m")
    assert found[6].endswith("spec.context[0]: needs exactly one of git, text, url, configMap")


GOOD = "apiVersion: guildnet.io/v1alpha1\nkind: Task\nmetadata: {name: fix}\nspec:\n  prompt: x\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("  dependsOn: [fix]\n", ":6: spec.dependsOn[0]: a task cannot wait for itself"),
        ("  dependsOn: [a, a]\n", "'a' is named twice"),
        (
            "  context: [{name: a, text: x}, {name: a, text: y}]\n",
            "a second context named 'a'",
        ),
        (
            "  context: [{name: a, text: x}]\n  pullRequest: {context: a}\n",
            ":7: spec.pullRequest.context: 'a' is not a git context of this task",
        ),
        (
            "  agent: {env: [{name: A, value: '1'}, {name: A, value: '2'}]}\n",
            "'A' is set twice",
        ),
    ],
)
def test_rules_that_a_schema_cannot_express(more: str, message: str) -> None:
    assert message in problems(GOOD + more)[0]


def test_problems_are_bounded() -> None:
    text = GOOD + "".join(f"  unknown{number}: 1\n" for number in range(500))
    assert len(problems(text)) == 50


def test_a_trailing_newline_does_not_match_a_pattern() -> None:
    """The API server would reject it; so do we, at the line."""
    assert problems(GOOD + '  timeout: "2h\\n"\n')[0].startswith(f"{PATH}:6: spec.timeout:")


def test_the_name_is_the_files() -> None:
    assert problems(GOOD, "tasks/acme/other.yaml") == [
        "tasks/acme/other.yaml:3: metadata.name is 'fix'; the file's name says 'other'"
    ]


def test_a_good_task_and_org() -> None:
    task = load_task(GOOD.encode(), Source(PATH, "b", "r"))
    assert (task.org, task.name, task.key) == ("acme", "fix", "acme/fix")
    assert task.spec == {"prompt": "x"}
    text = (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\nspec:\n"
        "  cluster: {kubeconfig: acme, context: me, namespace: agents}\n"
        "  prune: {maxPercent: 10}\n  limits: {maxActive: 2}\n"
    )
    org = load_org(text.encode(), Source("orgs/acme.yaml"))
    assert (org.cluster.kubeconfig, org.cluster.context) == ("acme", "me")
    assert (org.prune.enabled, org.prune.max_percent, org.prune.min_objects) == (True, 10, 5)
    assert org.max_active == 2
    assert not org.suspended


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("{address: 10.0.0.300}", "'10.0.0.300' is not an IPv4 or IPv6 address"),
        ("{address: 127.0.0.53}", "127.0.0.53:53 is loopback"),
        ("{address: 169.254.169.254, port: 80}", "169.254.169.254:80 is link-local"),
        ("{address: '::ffff:169.254.169.254'}", "link-local (169.254.169.254)"),
        ("{address: dns.example}", "is not an IPv4 or IPv6 address"),
    ],
)
def test_an_org_names_dns_servers_by_addresses_that_agents_may_reach(
    server: str, words: str
) -> None:
    with pytest.raises(InvalidResource) as refused:
        load_org(org_with_dns(server), Source("orgs/acme.yaml"))
    (problem,) = refused.value.problems
    assert "spec.dns[0].address" in problem.message
    assert words.lower() in problem.message.lower()


def test_the_dns_servers_of_an_org_reach_its_cluster() -> None:
    org = load_org(
        org_with_dns("{address: 169.254.25.10}, {address: 'fd00::53', port: 5353}"),
        Source("orgs/acme.yaml"),
    )
    assert org.spec["dns"] == [{"address": "169.254.25.10"}, {"address": "fd00::53", "port": 5353}]


def org_with_dns(servers: str) -> bytes:
    return (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\n"
        f"spec: {{cluster: {{kubeconfig: acme, namespace: agents}}, dns: [{servers}]}}\n"
    ).encode()


def org_with(fields: str) -> bytes:
    return (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\nspec:\n"
        f"  cluster: {{kubeconfig: acme, namespace: agents}}\n  {fields}\n"
    ).encode()


@pytest.mark.parametrize(
    "mesh",
    [
        "{}",
        "{mode: none}",
        "{mode: none, apiSecret: mesh}",
        "{mode: tailscale, apiSecret: mesh}",
        "{mode: tailscale, authKeySecret: mesh, tags: ['tag:a'], image: 'tailscale/tailscale:v1'}",
        "{mode: tailscale, apiSecret: mesh, loginServer: 'http://10.0.0.1:8080/'}",
    ],
)
def test_a_mesh_is_accepted(mesh: str) -> None:
    load_org(org_with(f"mesh: {mesh}"), Source("orgs/acme.yaml"))


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ("{apiSecret: mesh}", "spec.mesh: mode is missing"),
        ("{mode: tailscale}", "spec.mesh: set either apiSecret or authKeySecret; neither is set"),
        (
            "{mode: tailscale, apiSecret: a, authKeySecret: b}",
            "spec.mesh: set either apiSecret or authKeySecret; both are set",
        ),
        ("{mode: tailscale, apiSecret: a, loginServer: 'ssh://x'}", "spec.mesh.loginServer: "),
        ("{mode: tailscale, apiSecret: a, loginServer: 'https://x/y'}", "spec.mesh.loginServer: "),
    ],
)
def test_a_mesh_that_cannot_work_is_refused(mesh: str, message: str) -> None:
    """I10: at its line, with what to change."""
    with pytest.raises(InvalidResource) as refused:
        load_org(org_with(f"mesh: {mesh}"), Source("orgs/acme.yaml"))
    (problem,) = refused.value.problems
    assert str(problem).startswith(f"orgs/acme.yaml:6: {message}")


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/b", "~/.kube/config", "C:\\x"])
def test_an_org_names_a_kubeconfig_and_never_a_path(path: str) -> None:
    """I9."""
    text = (
        "apiVersion: guildnet.io/v1alpha1\nkind: Org\nmetadata: {name: acme}\nspec:\n"
        f"  cluster: {{kubeconfig: {json.dumps(path)}, namespace: agents}}\n"
    )
    with pytest.raises(InvalidResource, match=r"spec\.cluster\.kubeconfig"):
        load_org(text.encode(), Source("orgs/acme.yaml"))


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("orgs/acme.yaml", ResourcePath("acme", None)),
        ("tasks/acme/fix.yaml", ResourcePath("acme", "fix")),
        ("README.md", None),
        ("orgs/acme.yml", None),
        ("orgs/sub/acme.yaml", None),
        ("tasks/fix.yaml", None),
        ("tasks/a/b/c.yaml", None),
        ("schemas/org.yaml", None),
        ("orgs/.acme.yaml", None),
        ("tasks/acme/.yaml", None),
    ],
)
def test_the_path_is_the_identity(path: str, identity: ResourcePath | None) -> None:
    assert parse_path(path) == identity


@pytest.mark.parametrize(
    ("path", "good"),
    [
        ("orgs/acme.yaml", True),
        ("tasks/a/b.yaml", True),
        ("README.md", True),
        ("orgs/.gitkeep", True),
        (f"tasks/a/{'b' * 50}.yaml", True),
        (f"tasks/a/{'b' * 51}.yaml", False),
        ("orgs/Acme.yaml", False),
        ("orgs/acme.yml", False),
        ("tasks/fix.yaml", False),
        ("tasks/-a/b.yaml", False),
        ("tasks/a/b c.yaml", False),
        ("tasks/a/b\n.yaml", False),
    ],
)
def test_misplaced_files_are_reported(path: str, good: bool) -> None:
    found = path_problem(path)
    assert (found is None) == good
    assert found is None or isinstance(found, Problem)


def test_a_path_is_shown_without_control_characters() -> None:
    found = path_problem("tasks/acme/\x1b[2J\nok.yaml")
    assert found is not None
    assert str(found).startswith("tasks/acme/\\x1b[2J\\nok.yaml: ")


def test_the_line_of_what_is_missing_is_its_parents() -> None:
    lines: dict[Place, int] = {(): 1, ("spec",): 4}
    assert line_of(lines, ("spec", "context", 0)) == 4
    assert line_of(lines, ("metadata",)) == 1
