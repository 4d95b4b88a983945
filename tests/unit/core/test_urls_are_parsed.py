"""A URL that a schema accepts breaks no library that is given it later."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildnet.errors import InvalidResource
from guildnet.loading import load_org, load_task
from guildnet.resources import Source
from guildnet.urls import parse_host_port, url_fault

TASK = """\
apiVersion: guildnet.io/v1alpha1
kind: Task
metadata: {name: x}
spec:
  prompt: hi
  context: [%s]
"""
ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: x}
spec:
  cluster: {kubeconfig: x, namespace: agents}
  models: {main: {protocol: anthropic, baseURL: '%s', secret: key, names: [m]}}
  mesh: {loginServer: '%s'}
  talos: {endpoint: '%s', version: v1.13.0, kubernetesVersion: v1.36.2, controlPlanes: [a]}
"""
BAD = [
    "https://[::1/x.git",
    "https://::1]/x.git",
    "https://[foo]/x.git",
    "https://[::1]x/",
    "https://[fe80::1%25eth0]/",
    "https://h\u2100/x.git",
    "https://m\u00fcnchen.example/",
    "https://host:99999/x",
    "https://host:0/x",
    "https://host:-1/x",
    "https://host:a/x",
    "https://host:1:2/x",
    "https://999.1.1.1/x",
    "https://1.2.3/x",
    "https://ho<st/x",
    "https://ho%41st/x",
    "https://host\\x/y",
    "https://.host/x",
    "https://a..b/x",
    f"https://{'a' * 64}.example/x",
    "https://host/%zz",
    "https://host/\u00fc",
    "https://:443/x",
]
GOOD = [
    "https://git.example/acme/web.git",
    "https://git.example.:3000/x",
    "http://127.0.0.1:8080/x?y=%20&z#f",
    "https://[2001:db8::1]:8443/x",
    "ssh://git.example:22/acme/web.git",
    "https://my_host.example/",
    "https://xn--mnchen-3ya.example",
    "https://localhost:1/",
]


@pytest.mark.parametrize("url", BAD)
def test_every_url_of_a_file_is_parsed_when_it_is_validated(url: str) -> None:
    """I10: refused where it was written, with its line."""
    contexts = f"{{name: a, git: {{url: '{url}'}}}}, {{name: b, url: {{href: '{url}'}}}}"
    with pytest.raises(InvalidResource) as refused:
        load_task((TASK % contexts).encode(), Source("tasks/acme/x.yaml"))
    places = {problem.message.partition(":")[0] for problem in refused.value.problems}
    assert places == {"spec.context[0].git.url", "spec.context[1].url.href"}
    assert {problem.line for problem in refused.value.problems} == {6}
    with pytest.raises(InvalidResource) as refused:
        load_org((ORG % (url, url, url)).encode(), Source("orgs/x.yaml"))
    places = {problem.message.partition(":")[0] for problem in refused.value.problems}
    assert places == {"spec.models.main.baseURL", "spec.mesh.loginServer", "spec.talos.endpoint"}


@pytest.mark.parametrize("url", GOOD)
def test_what_people_use_is_accepted(url: str) -> None:
    assert url_fault(url) is None
    load_task((TASK % f"{{name: a, git: {{url: '{url}'}}}}").encode(), Source("tasks/a/x.yaml"))


@given(st.text("abc.-_[]:%@/?#\\ 019\u00e9\u2100\n", max_size=20), st.text(max_size=8))
def test_a_good_url_is_read_by_every_library(host: str, path: str) -> None:
    url = f"https://{host}/{path}"
    if url_fault(url) is None:
        parts = urlsplit(url)
        assert httpx.URL(url).host == (parts.hostname or "")
        assert (httpx.URL(url).port or parts.port) == parts.port or parts.port == 443
        assert parts.username is None


@pytest.mark.parametrize(
    "size", ["2Gi", "100Gi", "1000Mi", "1Ti", "1000000Ki", "9999999999", "1.5Gi"]
)
def test_a_url_context_has_a_ceiling(size: str) -> None:
    """I9."""
    context = f"{{name: a, url: {{href: 'https://h/x', maxBytes: '{size}'}}}}"
    with pytest.raises(InvalidResource, match="at most 1Gi"):
        load_task((TASK % context).encode(), Source("tasks/acme/x.yaml"))


@pytest.mark.parametrize("size", ["1Gi", "1G", "64Ki", "100", "1.5Mi", "999Mi", "20M"])
def test_sizes_below_the_ceiling_are_accepted(size: str) -> None:
    context = f"{{name: a, url: {{href: 'https://h/x', maxBytes: '{size}'}}}}"
    load_task((TASK % context).encode(), Source("tasks/acme/x.yaml"))


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("127.0.0.1:8443", ("127.0.0.1", 8443)),
        ("[::1]:80", ("::1", 80)),
        (" git.example:65535\n", ("git.example", 65535)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("::1", None),
        ("fe80::1:80", None),
        ("git.example", None),
        (":80", None),
        ("git.example:", None),
        ("git.example:65536", None),
        ("git.example:-1", None),
        ("git.example:8_0", None),
        ("git.example:\u0661", None),
        ("8443", None),
    ],
)
def test_only_a_host_and_a_port_are_parsed(text: str, parsed: tuple[str, int] | None) -> None:
    assert parse_host_port(text) == parsed
