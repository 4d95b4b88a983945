"""Real machines in maintenance mode: what `talos gen`, `diff` and `apply` find, send and refuse.

Nothing here configures the machine: other tests share it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.talos.admin import Admin

from guildnet_devcluster.layout import Layout
from guildnet_devcluster.talos import machine
from guildnet_devcluster.talos.site import Site

ORG = """\
apiVersion: guildnet.io/v1alpha1
kind: Org
metadata: {{name: acme}}
spec:
  cluster: {{kubeconfig: acme, namespace: agents}}
  talos:
    endpoint: https://{address}:6443
    version: v{talos}
    kubernetesVersion: v{kubernetes}
    controlPlanes: [{address}]
"""


@pytest.fixture
def admin(maintenance_site: Site, tmp_path: Path) -> Admin:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    found = Admin(maintenance_site, checkout, tmp_path / "state")
    write_org(found)
    return found


def write_org(admin: Admin, *lines: str) -> None:
    lab = admin.lab
    text = ORG.format(
        address=lab.control_plane.address,
        talos=lab.talos_version,
        kubernetes=lab.kubernetes_version,
    )
    admin.write("orgs/acme.yaml", text + "".join(f"    {line}\n" for line in lines))


def fingerprint(lab: Site) -> str:
    """What the machine's console says, as a person would read it."""
    layout: Layout = lab.layout
    name = machine.process_name(lab.control_plane.name)
    console = next(layout.data.rglob(f"{name}*.log")).read_text(errors="replace")
    return str(re.findall(r"--cert-fingerprint '([^']+)'", console)[-1])


def test_a_new_machine_is_unconfigured_and_stays_so(admin: Admin) -> None:
    assert admin.guildnet("talos", "gen", "acme").code == 0
    answer = admin.guildnet("talos", "diff", "acme")
    assert answer.code == 1, answer.err + answer.out
    assert "unconfigured" in answer.out
    asked = ["version", "--insecure", "--nodes", admin.lab.control_plane.address]
    assert subprocess.run([admin.lab.talosctl, *asked], check=False).returncode == 0


def test_only_the_machine_of_the_fingerprint_gets_the_keys(admin: Admin) -> None:
    address = admin.lab.control_plane.address
    wrong = f"{'A' * 43}="
    write_org(admin, f"certificateFingerprints: {{{address}: '{wrong}'}}")
    assert admin.guildnet("talos", "gen", "acme").code == 0
    for verb, code in (("diff", 2), ("apply", 1)):
        answer = admin.guildnet("talos", verb, "acme")
        assert answer.code == code, answer.out
        assert "does not have the fingerprint that the org gives" in answer.out
    write_org(admin, f"certificateFingerprints: {{{address}: '{fingerprint(admin.lab)}'}}")
    assert "unconfigured" in admin.guildnet("talos", "diff", "acme").out


def test_the_machine_judges_what_offline_validation_accepts(admin: Admin) -> None:
    """A Kubernetes that this Talos does not run, by the image of a patch."""
    write_org(admin, "patches: [{path: orgs/acme/talos/x.yaml}]")
    image = "machine:\n  kubelet: {image: 'ghcr.io/siderolabs/kubelet:v1.37.2'}\n"
    admin.write("orgs/acme/talos/x.yaml", image)
    assert admin.guildnet("talos", "gen", "acme").code == 0
    for verb, code in (("diff", 2), ("apply", 1)):
        answer = admin.guildnet("talos", verb, "acme")
        assert answer.code == code, answer.out
        assert "version of Kubernetes 1.37.2 is too new" in answer.out


def test_one_machine_that_is_away_keeps_no_other_from_being_asked(admin: Admin) -> None:
    write_org(admin, "workers: [127.0.0.78]")
    assert admin.guildnet("talos", "gen", "acme").code == 0
    answer = admin.guildnet("talos", "diff", "acme")
    assert answer.code == 2
    assert f"{admin.lab.control_plane.address} (controlplane): unconfigured" in answer.out
    assert "127.0.0.78 (worker): failed" in answer.out


def test_etcd_is_not_bootstrapped_before_the_configuration(admin: Admin) -> None:
    assert admin.guildnet("talos", "gen", "acme").code == 0
    answer = admin.guildnet("talos", "bootstrap", "acme", "--timeout", "5")
    assert answer.code == 1
    assert "has no configuration yet" in answer.err
    assert "guildnet talos apply acme" in answer.err
