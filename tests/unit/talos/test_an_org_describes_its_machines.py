"""`spec.talos`: what it means, and which mistakes are found where."""

from __future__ import annotations

import pytest

from guildnet.errors import InvalidResource
from guildnet.loading import load_org
from guildnet.resources import Source
from guildnet.talos.spec import TalosSpec, talos_of

ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {name: acme}
spec:
  cluster: {kubeconfig: acme, namespace: agents}
  talos:
    endpoint: https://10.0.0.2:6443
    version: v1.13.0
    kubernetesVersion: 1.36.2
    controlPlanes: [10.0.0.2, 'fd00::2']
    workers: [w1.example]
"""


def load(text: str) -> TalosSpec:
    spec = talos_of(load_org(text.encode(), Source("orgs/acme.yaml")))
    assert spec is not None
    return spec


def test_a_machine_gets_the_patches_for_all_then_its_role_then_its_own() -> None:
    folder = "orgs/acme/talos"
    spec = load(
        ORG + "    patches:\n"
        f"      - {{path: {folder}/own.yaml, target: 10.0.0.2}}\n"
        f"      - {{path: {folder}/cp.yaml, target: controlplane}}\n"
        f"      - {{path: {folder}/all.yaml}}\n"
        f"      - {{path: {folder}/all2.yaml, target: all}}\n"
        f"      - {{path: {folder}/worker.yaml, target: worker}}\n"
    )
    names = {
        machine.address: [patch.path.rpartition("/")[2] for patch in spec.patches_for(machine)]
        for machine in spec.machines
    }
    assert names == {
        "10.0.0.2": ["all.yaml", "all2.yaml", "cp.yaml", "own.yaml"],
        "fd00::2": ["all.yaml", "all2.yaml", "cp.yaml"],
        "w1.example": ["all.yaml", "all2.yaml", "worker.yaml"],
    }


def test_the_configuration_keeps_the_defaults_of_the_version_it_was_created_with() -> None:
    assert load(ORG).config_version == "v1.13.0"
    assert load(ORG + "    configVersion: v1.12.3\n").config_version == "v1.12.3"
    assert load(ORG).kubernetes_version == "v1.36.2"


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("https://10", "http://10", 7, "talos.endpoint: not an https URL"),
        ("v1.13.0", "'1.13'", 8, "talos.version: '1.13' is not a Talos version such as v1.13.0"),
        ("v1.13.0", "v1.9.2", 8, "talos.version: Talos v1.9.2 is not supported"),
        (
            "1.36.2",
            "1.37.0",
            9,
            "Talos v1.13.0 does not run Kubernetes 1.37.0: it supports v1.31 to v1.36",
        ),
        ("1.36.2", "v1.30.9", 9, "it supports v1.31 to v1.36"),
        ("[w1.example]", "[10.0.0.2]", 11, "talos.workers[0]: '10.0.0.2' is listed twice"),
        ("[w1.example]", "[10.0.0.300]", 11, "'10.0.0.300' is not an IP address or a host name"),
        ("[w1.example]", "['-e']", 11, "talos.workers[0]: '-e' is not an IP address"),
        ("[10.0.0.2, 'fd00::2']", "[]", 10, "talos.controlPlanes: must not be empty"),
        (
            "[w1.example]",
            "[w]\n    patches: [{path: ../x.yaml}]",
            12,
            "'../x.yaml' is not orgs/acme/talos/<name>.yaml",
        ),
        (
            "[w1.example]",
            "[w]\n    patches: [{path: orgs/globex/talos/x.yaml}]",
            12,
            "is not orgs/acme/talos/<name>.yaml",
        ),
        (
            "[w1.example]",
            "[w]\n    patches: [{path: orgs/acme/talos/x.yaml, target: w2}]",
            12,
            "'w2' is not all, controlplane, worker or a machine of this org",
        ),
        (
            "[w1.example]",
            f"[w]\n    certificateFingerprints: {{w2: {'A' * 43}=}}",
            12,
            "certificateFingerprints.w2: 'w2' is not a machine of this org",
        ),
        (
            "[w1.example]",
            "[w]\n    certificateFingerprints: {w: 'AB:CD'}",
            12,
            "'AB:CD' is not a fingerprint as Talos prints it",
        ),
        ("[w1.example]", "[w]\n    configVersion: v1.14.0", 12, "is newer than version, v1.13.0"),
    ],
)
def test_a_mistake_is_named_with_its_line(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(InvalidResource) as refused:
        load(ORG.replace(old, new, 1))
    found = [str(problem) for problem in refused.value.problems]
    assert any(p.startswith(f"orgs/acme.yaml:{line}: ") and message in p for p in found), found


def test_the_versions_of_a_later_talos_are_left_to_the_machine() -> None:
    assert load(ORG.replace("v1.13.0", "v1.15.0").replace("1.36.2", "1.40.0")).version == "v1.15.0"
