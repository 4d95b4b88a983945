"""`guildnet talos gen`: secrets once, the same bytes again, everything private (I8)."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.functional.talos.conftest import ORG, Checkout

from guildnet.git import Mirror
from guildnet.loading import load_org
from guildnet.resources import Source
from guildnet.talos.cluster import TalosCluster
from guildnet.talos.files import RevisionFiles
from guildnet.talos.spec import talos_of
from guildnet.talos.state import TalosState

LABEL = "machine:\n  nodeLabels: {team: %s}\n"


def configuration(files: dict[str, bytes], address: str) -> str:
    return files[f"machines/{address}.yaml"].decode()


def test_the_same_git_gives_the_same_bytes_and_secrets_are_made_once(checkout: Checkout) -> None:
    made = checkout.guildnet("talos", "gen", "acme")
    assert made.code == 0, made.err
    first = checkout.private_files()
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    second = checkout.private_files()
    assert {**first, "talos.lock": b""} == {**second, "talos.lock": b""}
    bundle = yaml.safe_load(first["secrets.yaml"])
    assert configuration(first, "127.0.0.77").startswith("version: v1alpha1\n")
    assert "type: controlplane" in configuration(first, "127.0.0.77")
    assert "kubelet:v1.36.2" in configuration(first, "127.0.0.78")
    for secret in (bundle["cluster"]["secret"], bundle["certs"]["os"]["key"]):
        assert secret not in made.out + made.err


def test_patches_apply_to_their_machines_alone(checkout: Checkout) -> None:
    folder = "orgs/acme/talos"
    checkout.org(
        "patches:",
        f"  - {{path: {folder}/own.yaml, target: 127.0.0.78}}",
        f"  - {{path: {folder}/worker.yaml, target: worker}}",
    )
    checkout.write(f"{folder}/worker.yaml", LABEL % "workers")
    checkout.write(f"{folder}/own.yaml", LABEL % "own")
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    files = checkout.private_files()
    teams = {
        address: yaml.safe_load_all(configuration(files, address))
        for address in ("127.0.0.77", "127.0.0.78", "127.0.0.79")
    }
    found = {address: next(iter(docs))["machine"] for address, docs in teams.items()}
    labels = {
        address: machine.get("nodeLabels", {}).get("team") for address, machine in found.items()
    }
    assert labels == {"127.0.0.77": None, "127.0.0.78": "own", "127.0.0.79": "workers"}


def test_a_patch_that_talos_does_not_know_is_named_and_no_key_is_shown(
    checkout: Checkout,
) -> None:
    checkout.org("patches: [{path: orgs/acme/talos/x.yaml}]")
    checkout.write("orgs/acme/talos/x.yaml", "machine:\n  nodeLables: {team: web}\n")
    answer = checkout.guildnet("talos", "gen", "acme")
    assert answer.code == 1
    assert "nodeLables" in answer.err
    assert "x.yaml" in answer.err
    assert "LS0tLS1CRUdJTi" not in answer.err


def test_what_belongs_to_control_planes_is_refused_on_a_worker(checkout: Checkout) -> None:
    """Talos' own validation, before a machine is asked."""
    checkout.org("patches: [{path: orgs/acme/talos/x.yaml, target: worker}]")
    checkout.write("orgs/acme/talos/x.yaml", "cluster:\n  etcd: {image: 'etcd:v3'}\n")
    answer = checkout.guildnet("talos", "gen", "acme")
    assert answer.code == 1
    assert "the configuration of 127.0.0.78 is invalid" in answer.err


def test_a_patch_with_a_key_is_refused_before_anything_is_made(checkout: Checkout) -> None:
    checkout.org("patches: [{path: orgs/acme/talos/x.yaml}]")
    checkout.write("orgs/acme/talos/x.yaml", "machine:\n  token: hunter2hunter2\n")
    answer = checkout.guildnet("talos", "gen", "acme")
    assert answer.code == 1
    assert "orgs/acme/talos/x.yaml:2: machine.token" in answer.err
    assert "hunter2" not in answer.err + answer.out
    assert "secrets.yaml" not in checkout.private_files()


def test_a_revision_of_git_renders_as_the_checkout_does(checkout: Checkout) -> None:
    checkout.org("patches: [{path: orgs/acme/talos/x.yaml}]")
    checkout.write("orgs/acme/talos/x.yaml", LABEL % "web")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=checkout.root, check=True)
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.check_output(head, cwd=checkout.root, text=True).strip()
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    checkout.write("orgs/acme/talos/x.yaml", LABEL % "uncommitted")
    org = (checkout.root / "orgs/acme.yaml").read_bytes()
    spec = talos_of(load_org(org, Source("orgs/acme.yaml")))
    assert spec is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", checkout.path)
        with Mirror(str(checkout.root), checkout.root / ".git", None) as mirror:
            state = TalosState.of("acme")
            cluster = TalosCluster.open(spec, RevisionFiles(mirror, commit), state, None)
            rendered = cluster.rendered()
    assert rendered["127.0.0.78"] == checkout.private_files()["machines/127.0.0.78.yaml"]


def test_secrets_can_lie_in_git_encrypted_with_age(checkout: Checkout, tmp_path: Path) -> None:
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "age.key"
    key.write_text(f"# created by a test\n{identity}\n")
    checkout.org(f"ageRecipients: [{identity.to_public()}]")
    named = [("GUILDNET_AGE_IDENTITY", str(key))]
    made = checkout.guildnet("talos", "gen", "acme", environment=named)
    assert made.code == 0, made.err
    sealed = (checkout.root / "orgs/acme/talos/secrets.yaml.age").read_bytes()
    assert sealed.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----")
    assert "secrets.yaml" not in checkout.private_files()
    before = checkout.private_files()["machines/127.0.0.77.yaml"]
    bundle = yaml.safe_load(pyrage.decrypt(sealed, [identity]))
    assert bundle["cluster"]["secret"].encode() in before
    assert checkout.guildnet("talos", "gen", "acme", environment=named).code == 0
    assert checkout.private_files()["machines/127.0.0.77.yaml"] == before
    assert checkout.guildnet("validate").code == 0
    without = checkout.guildnet("talos", "gen", "acme")
    assert without.code == 1
    assert "GUILDNET_AGE_IDENTITY" in without.err
    key.write_text(str(pyrage.x25519.Identity.generate()))
    other = checkout.guildnet("talos", "gen", "acme", environment=named)
    assert "cannot be decrypted" in other.err
    assert "AGE-SECRET-KEY" not in other.err


def test_a_damaged_bundle_is_never_replaced(checkout: Checkout) -> None:
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    secrets = checkout.state / "talos/acme/secrets.yaml"
    secrets.write_text("cluster: {secret: hunter2hunter2}\n")
    answer = checkout.guildnet("talos", "gen", "acme")
    assert answer.code == 1
    assert "not a bundle of Talos secrets" in answer.err
    assert "hunter2" not in answer.err
    assert "hunter2" in secrets.read_text()


def test_talosctl_of_another_version_is_refused_with_its_source(
    checkout: Checkout, another_talosctl: Callable[[str], Path]
) -> None:
    folder = another_talosctl("v1.12.4")
    path = [("PATH", f"{folder}:/usr/bin:/bin")]
    answer = checkout.guildnet("talos", "gen", "acme", environment=path)
    assert answer.code == 1
    assert "talosctl v1.12.4 does not fit the machines' Talos v1.13.0" in answer.err
    assert "https://github.com/siderolabs/talos/releases/tag/v1.13.0" in answer.err
    missing = checkout.guildnet("talos", "gen", "acme", environment=[("PATH", "/nowhere")])
    assert "talosctl is not on PATH" in missing.err


def test_an_unreachable_machine_is_an_error_of_diff_not_a_difference(checkout: Checkout) -> None:
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    answer = checkout.guildnet("talos", "diff", "acme", "--node", "127.0.0.77")
    assert answer.code == 2
    assert "does not answer" in answer.out
    assert "port 50000" in answer.out


def test_an_org_without_machines_is_named(checkout: Checkout) -> None:
    checkout.write("orgs/acme.yaml", ORG.partition("  talos:")[0])
    for verb, code in (("gen", 1), ("apply", 1), ("diff", 2)):
        answer = checkout.guildnet("talos", verb, "acme")
        assert (answer.code, "has no Talos machines" in answer.err) == (code, True)


def test_the_client_certificate_is_of_the_clusters_authority(checkout: Checkout) -> None:
    assert checkout.guildnet("talos", "gen", "acme").code == 0
    files = checkout.private_files()
    config = yaml.safe_load(files["talosconfig"])
    bundle = yaml.safe_load(files["secrets.yaml"])
    context = config["contexts"]["acme"]
    assert context["endpoints"] == ["127.0.0.77"]
    assert context["ca"] == bundle["certs"]["os"]["crt"]
    assert base64.b64decode(context["crt"]).startswith(b"-----BEGIN CERTIFICATE-----")
