"""I8, I10: a patch with a secret, or one that is none of Talos' documents, is refused at its line,
and the message never repeats the secret."""

from __future__ import annotations

import base64

import pytest

from guildnet.talos.patches import patch_problems

PATH = "orgs/acme/talos/all.yaml"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----\n"
IN_BASE64 = base64.b64encode(PEM.encode()).decode()
VALUE = "c29tZXRoaW5nIHNlY3JldA"


def problems(text: str, version: str = "v1.13.0") -> list[str]:
    return [str(p) for p in patch_problems(text.encode(), PATH, version)]


@pytest.mark.parametrize(
    ("text", "line", "place"),
    [
        (f"machine:\n  token: {VALUE}\n", 2, "machine.token"),
        (f"machine:\n  ca:\n    crt: x\n    key: {VALUE}\n", 4, "machine.ca.key"),
        (f"cluster:\n  secret: {VALUE}\n", 2, "cluster.secret"),
        (f"cluster:\n  token: abcdef.{'0' * 16}\n", 2, "cluster.token"),
        (f"cluster:\n  aescbcEncryptionSecret: {VALUE}\n", 2, "cluster.aescbcEncryptionSecret"),
        (f"cluster:\n  serviceAccount:\n    key: {IN_BASE64}\n", 3, "cluster.serviceAccount.key"),
        (f"cluster:\n  etcd:\n    ca: {{key: {IN_BASE64}}}\n", 3, "cluster.etcd.ca.key"),
        (f"machine:\n  anything: {IN_BASE64}\n", 2, "machine.anything"),
        (
            "machine:\n  files:\n    - path: /var/key\n      content: |\n        -----BEGIN PRIVATE"
            " KEY-----\n        AAAA\n",
            4,
            "machine.files[0].content",
        ),
        (
            "machine:\n  registries:\n    config:\n      r.example:\n        auth:\n"
            f"          password: {VALUE}\n",
            6,
            "machine.registries.config.r.example.auth.password",
        ),
        ("machine:\n  registries:\n    config: {r: {auth: {auth: dTpw}}}\n", 3, "auth.auth"),
        (
            "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: tailscale\nenvironment:\n"
            f"  - TS_AUTHKEY={VALUE}\n",
            5,
            "environment[0]",
        ),
        (
            "apiVersion: v1alpha1\nkind: WireguardConfig\nname: wg0\npeers:\n"
            f"  - presharedKey: {VALUE}\n",
            5,
            "peers[0].presharedKey",
        ),
        ("machine:\n  env:\n    https_proxy: http://user:hunter2@proxy\n", 3, "https_proxy"),
        (
            "apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: grpc://x?jointoken=hunter2\n",
            3,
            "apiUrl",
        ),
        (
            "cluster:\n  inlineManifests:\n    - name: x\n      contents: |\n"
            "        apiVersion: v1\n        kind: Secret\n",
            4,
            "contents",
        ),
        ("machine:\n  sysctls:\n    passphrase: 1234567\n", 3, "passphrase"),
    ],
)
def test_a_secret_is_refused_at_its_line_and_never_repeated(
    text: str, line: int, place: str
) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"{PATH}:{line}: "), problem
    assert f"{place}: " in problem
    assert "remove it" in problem
    for secret in (VALUE, "hunter2", IN_BASE64[:20], "MIIEow", "1234567"):
        assert secret not in problem


@pytest.mark.parametrize(
    "text",
    [
        "machine:\n  install: {disk: /dev/sda}\n  nodeLabels: {team: web}\n",
        "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: w1\nauto: 'off'\n",
        "cluster:\n  apiServer:\n    extraArgs: {service-account-key-file: /etc/sa.pub}\n",
        "cluster:\n  ca:\n    crt: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==\n",
        "machine:\n  kubelet:\n    extraMounts: [{source: /a, destination: /a, type: bind}]\n",
        "cluster:\n  scheduler:\n    config: {topologyKey: kubernetes.io/hostname}\n",
        "machine:\n  features: {kubernetesTalosAPIAccess: {enabled: true}}\n  secret: null\n",
        "cluster:\n  discovery: {$patch: delete}\n",
    ],
)
def test_ordinary_settings_pass(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("machin: {}\n", ":1: machin: not a key of a Talos machine configuration; did you mean"),
        ("- {op: add, path: /machine}\n", "JSON patches are not supported"),
        ("apiVersion: v1alpha1\nkind: HostConfig\n", ":2: kind: 'HostConfig' is not a document of"),
        ("kind: HostnameConfig\n", "apiVersion: missing or not v1alpha1"),
        ("apiVersion: v1alpha1\n", "a document with an apiVersion needs a kind"),
        ("machine: {}\n---\ncluster: {}\n", "more than one document"),
        ("machine: [\n", "not valid YAML"),
        ("", "the file is empty"),
    ],
)
def test_a_file_that_cannot_be_a_patch_is_refused(text: str, message: str) -> None:
    assert any(message in problem for problem in problems(text)), problems(text)


def test_documents_of_a_later_talos_are_left_to_the_machine() -> None:
    document = "apiVersion: v1alpha1\nkind: KubeletConfig\n"
    assert problems(document, "v1.14.0") == []
    assert len(problems(document, "v1.13.2")) == 1
