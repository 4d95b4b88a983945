"""`guildnet org create --talos`: from machines in maintenance mode to an agent's pull request.

One cluster for the module; the tests are in the order of a cluster's life.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.e2e.scenario import test_the_readme_as_it_stands as readme
from tests.talos.admin import Admin, until

from guildnet_demo.sites import AGENTS, SiteDetails
from guildnet_devcluster import cluster, docker_archive, forge
from guildnet_devcluster.components import KUBERNETES_VERSION
from guildnet_devcluster.control_plane import free_ports
from guildnet_devcluster.images import Images, ensure_images
from guildnet_devcluster.progress import progress_to
from guildnet_devcluster.talos import machine_images, services, site
from guildnet_devcluster.talos.programs import Programs
from guildnet_devcluster.talos.site import Site


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("org")


@pytest.fixture(scope="module")
def images() -> Images:
    return ensure_images(progress_to(), AGENTS)


@pytest.fixture(scope="module")
def lab(talos_folder: Path, images: Images) -> Iterator[Site]:
    """A control plane and a worker in maintenance mode, with our images in their registry."""
    name = f"t-org-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUILDNET_STATE_DIR", str(talos_folder))
        try:
            started = site.up(name, workers=1, progress=progress_to())
            started.add_images([images.operator, images.work])
            patch.undo()
            yield started
        finally:
            patch.setenv("GUILDNET_STATE_DIR", str(talos_folder))
            cluster.down(name)


@pytest.fixture(scope="module")
def server(folder: Path, lab: Site) -> Iterator[forge.Forge]:
    (port,) = free_ports(1)
    try:
        yield forge.up(
            folder / "forge",
            listen=f"0.0.0.0:{port}",
            root_url=f"http://{lab.host_address}:{port}",
            progress=progress_to(),
        )
    finally:
        forge.down(folder / "forge")


@pytest.fixture(scope="module")
def walk(folder: Path, lab: Site, server: forge.Forge, images: Images) -> readme.Walk:
    """A reader of the README with a forge; the cluster comes from `org create` instead."""
    nothing = folder / "no.config"
    nothing.write_text("")
    details = SiteDetails(
        kubeconfigs={"acme": nothing},
        operator_image=images.operator.name,
        work_image=images.work.name,
        host_address=lab.host_address,
    )
    prepare = readme.walk.__wrapped__  # type: ignore[attr-defined]
    reader: readme.Walk = prepare(folder, details, server)
    reader.environment["PATH"] = f"{lab.talosctl.parent}:{reader.environment['PATH']}"
    reader.run("guildnet init")
    return reader


@pytest.fixture(scope="module")
def admin(walk: readme.Walk, lab: Site) -> Admin:
    state = Path(walk.environment["GUILDNET_STATE_DIR"])
    return Admin(lab, walk.folder, state, walk.environment)


@pytest.fixture(scope="module")
def create(admin: Admin, walk: readme.Walk, images: Images, server: forge.Forge) -> list[str]:
    """The arguments of `org create`."""
    egress = server.url.partition("://")[2]
    return admin.create(
        *("--image", images.operator.name, "--work-image", images.work.name),
        *("--command", readme.AGENT, "--egress", egress),
    )


@pytest.fixture(scope="module")
def created(admin: Admin, create: list[str], lab: Site) -> Admin:
    """The org, made by calls that were killed at each step, and one that was not.

    Two bootstraps run at the same time, after a third was killed while it sent its request.
    """
    for step in ("wrote orgs/acme.yaml", "secrets made", "2/6", "3/6"):
        admin.kill_when(step, *create)
    note = admin.state / "talos/acme/bootstrap.json"
    with admin.running("talos", "bootstrap", "acme"):
        until(note.exists, "request of a bootstrap")
    with ThreadPoolExecutor(2) as pool:
        verb = ("talos", "bootstrap", "acme")
        both = list(pool.map(lambda _: admin.json(*verb), range(2)))
    assert sum(each["requested"] for each in both) <= 1, both
    assert not note.exists()
    for step in ("4/6", "5/6", "6/6"):
        admin.kill_when(step, *create)
    # Volumes and network policies are this host's to provide.
    stored = yaml.safe_load((admin.state / "kube/acme.config").read_text())
    config = admin.state / "admin.json"
    config.write_text(json.dumps(stored))
    lab.serve(config)
    done = admin.guildnet(*create)
    assert done.code == 0, done.err + done.out
    return admin


def test_calls_that_are_killed_at_each_step_make_one_healthy_cluster(created: Admin) -> None:
    members = created.talosctl("etcd", "members").strip().splitlines()
    assert len(members) == 2, members  # a header and one member
    health = created.json("talos", "health", "acme")
    assert [(node["node"], node["ready"]) for node in health] == [("cp1", True), ("worker1", True)]
    assert created.json("talos", "bootstrap", "acme")["requested"] is False
    kept = created.json("talos", "kubeconfig", "acme")
    assert kept["fetched"] is False
    for file in (created.state / "talos").rglob("*"):
        assert not file.stat().st_mode & 0o077, file


def test_a_second_create_changes_nothing(created: Admin, create: list[str]) -> None:
    before = created.talosctl("get", "machineconfig", "-o", "jsonpath={.metadata.version}")
    again = created.guildnet(*create)
    assert again.code == 0, again.err + again.out
    assert "applied Deployment" in again.err
    assert "bootstrapping" not in again.err
    after = created.talosctl("get", "machineconfig", "-o", "jsonpath={.metadata.version}")
    assert after == before


def test_a_change_by_hand_is_found_and_reverted(created: Admin) -> None:
    worker = created.lab.workers[0].address
    assert created.guildnet("talos", "diff", "acme").code == 0
    by_hand = '{"machine": {"nodeLabels": {"by": "hand"}}}'
    created.talosctl("patch", "machineconfig", "--patch", by_hand, machine=worker)
    answer = created.guildnet("talos", "diff", "acme")
    assert answer.code == 1, answer.out
    assert re_lines(answer.out) == ["-        by: hand"]
    doctor = created.guildnet("doctor", "acme")
    assert doctor.code == 1
    assert "machine configuration" in doctor.out
    applied = {each["address"]: each["result"] for each in created.json("talos", "apply", "acme")}
    assert applied[worker] == "applied"
    assert set(applied.values()) == {"applied", "same"}
    assert created.guildnet("talos", "diff", "acme").code == 0


def re_lines(out: str) -> list[str]:
    """The added and removed lines of a diff that removed or added values."""
    lines = [line[2:] for line in out.splitlines()]
    return [line for line in lines if line[:1] in "+-" and not line.rstrip().endswith(":")]


def test_a_change_in_git_is_shown_without_keys_and_applied(created: Admin) -> None:
    file = created.checkout / "orgs/acme/talos/worker1.yaml"
    org = created.checkout / "orgs/acme.yaml"
    before = org.read_text()
    patch = "- {path: orgs/acme/talos/labels.yaml, target: worker}\n"
    indent = before[before.index("    patches:\n") :].partition("\n")[2].partition("-")[0]
    org.write_text(before.replace("    patches:\n", f"    patches:\n{indent}{patch}"))
    created.write("orgs/acme/talos/labels.yaml", "machine:\n  nodeLabels: {team: web}\n")
    assert file.exists()
    answer = created.guildnet("talos", "diff", "acme")
    assert answer.code == 1, answer.out + answer.err
    assert "team: web" in answer.out
    bundle = yaml.safe_load((created.state / "talos/acme/secrets.yaml").read_text())
    for secret in (bundle["cluster"]["secret"], bundle["trustdinfo"]["token"]):
        assert secret not in answer.out
    assert created.guildnet("talos", "apply", "acme").code == 0
    assert created.guildnet("talos", "diff", "acme").code == 0


def test_a_change_that_needs_a_reboot_is_refused_without_keys(created: Admin) -> None:
    """Talos explains its refusal by a diff whose context lines hold keys."""
    org = created.checkout / "orgs/acme.yaml"
    before = org.read_text()
    indent = before[before.index("    patches:\n") :].partition("\n")[2].partition("-")[0]
    patch = "- {path: orgs/acme/talos/env.yaml, target: worker}\n"
    org.write_text(before.replace("    patches:\n", f"    patches:\n{indent}{patch}"))
    created.write(
        "orgs/acme/talos/env.yaml", "machine:\n  env: {GRPC_GO_LOG_SEVERITY_LEVEL: info}\n"
    )
    try:
        found = created.guildnet("talos", "diff", "acme")
        assert found.code == 1
        assert "different, needs a reboot" in found.out
        refused = created.guildnet("talos", "apply", "acme")
        assert refused.code == 1
        assert "the change needs a reboot; nothing was applied" in refused.out
        bundle = yaml.safe_load((created.state / "talos/acme/secrets.yaml").read_text())
        assert bundle["trustdinfo"]["token"] not in refused.out + refused.err
        assert "diff:" not in refused.out
    finally:
        org.write_text(before)
        (created.checkout / "orgs/acme/talos/env.yaml").unlink()


def test_applying_never_changes_the_version_of_kubernetes(created: Admin) -> None:
    org = created.checkout / "orgs/acme.yaml"
    before = org.read_text()
    current = f"v{created.lab.kubernetes_version}"
    assert created.json("talos", "upgrade-k8s", "acme")["upgraded"] is False
    org.write_text(before.replace(current, "v1.35.0"))
    try:
        applied = created.guildnet("talos", "apply", "acme")
        assert applied.code == 1
        assert "runs another version of Kubernetes than git says" in applied.out
        upgraded = created.guildnet("talos", "upgrade-k8s", "acme")
        assert upgraded.code == 1
        assert "Kubernetes cannot be downgraded" in upgraded.err
    finally:
        org.write_text(before)
    assert created.guildnet("talos", "diff", "acme").code == 0


@pytest.mark.skipif(
    "GUILDNET_TEST_UPGRADE" not in os.environ,
    reason="takes five minutes of waiting: set GUILDNET_TEST_UPGRADE=1",
)
def test_kubernetes_is_upgraded_to_the_version_that_git_names(
    created: Admin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To programs of the same build that call themselves the next version."""
    current, following = KUBERNETES_VERSION, _next_patch(KUBERNETES_VERSION)
    _serve_kubernetes(created.lab, following, monkeypatch, tmp_path)
    org = created.checkout / "orgs/acme.yaml"
    org.write_text(org.read_text().replace(f"v{current}", f"v{following}"))
    refused = created.guildnet("talos", "apply", "acme")
    assert "runs another version of Kubernetes than git says" in refused.out
    done = created.json("talos", "upgrade-k8s", "acme")
    assert done == {"before": [f"v{current}"], "after": f"v{following}", "upgraded": True}
    assert created.guildnet("talos", "diff", "acme").code == 0
    nodes = created.json("talos", "health", "acme")
    assert {node["version"] for node in nodes} == {f"v{following}"}
    assert created.json("talos", "upgrade-k8s", "acme")["upgraded"] is False


def _next_patch(version: str) -> str:
    head, _, patch = version.rpartition(".")
    return f"{head}.{int(patch) + 1}"


def _serve_kubernetes(
    lab: Site, version: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """Put images of another version into the machines' registry. The text of the version has the
    same length, so it can be replaced in the compiled programs."""
    programs = Programs.ensure(progress_to())
    assert len(version) == len(KUBERNETES_VERSION)
    renamed = folder / "programs"
    renamed.mkdir()
    for program in programs.kubernetes.iterdir():
        old, new = (f"v{each}".encode() for each in (KUBERNETES_VERSION, version))
        (renamed / program.name).write_bytes(program.read_bytes().replace(old, new))
        (renamed / program.name).chmod(0o755)
    monkeypatch.setattr(machine_images, "KUBERNETES_VERSION", version)
    for image in machine_images._images(replace(programs, kubernetes=renamed)):
        if image.name.endswith(version):
            archive = folder / f"{image.name.rpartition('/')[2].replace(':', '-')}.tar"
            docker_archive.write(image, archive)
            services.add_archive(lab.layout, archive)


def test_machines_of_another_cluster_are_refused(created: Admin, tmp_path: Path) -> None:
    """With secrets of one's own a machine is foreign; without any, none are made."""
    stranger = Admin(created.lab, created.checkout, tmp_path / "state")
    answer = stranger.guildnet("talos", "gen", "acme")
    assert answer.code == 1
    assert "already configured, with secrets that are not here" in answer.err
    own = tmp_path / "state/talos/acme/secrets.yaml"
    assert not own.exists()
    subprocess.run([created.lab.talosctl, "gen", "secrets", "--output-file", own], check=True)
    own.chmod(0o600)
    for verb, code in (("diff", 2), ("apply", 1)):
        answer = stranger.guildnet("talos", verb, "acme")
        assert answer.code == code
        assert "belongs to another cluster" in answer.out
    bootstrapped = stranger.guildnet("talos", "bootstrap", "acme", "--timeout", "5")
    assert bootstrapped.code == 1
    assert "belongs to another cluster" in bootstrapped.err


def test_a_client_certificate_is_renewed_before_it_ends(created: Admin) -> None:
    short = created.state / "short"
    created.talosctl("config", "new", str(short), "--crt-ttl", "240h")
    shutil.copyfile(short, created.talosconfig)
    checked = created.guildnet("talos", "certs", "acme", "--check")
    assert checked.code == 1
    assert "ENDS SOON" in checked.out
    renewed = created.json("talos", "certs", "acme")
    assert [each["certificate"] for each in renewed if each["renewed"]] == ["talosconfig"]
    assert min(each["daysLeft"] for each in renewed) > 300
    assert created.guildnet("talos", "certs", "acme", "--check").code == 0


def test_agents_run_under_the_restricted_standard(created: Admin) -> None:
    """Talos itself enforces only baseline."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare", "namespace": "agents"},
        "spec": {"containers": [{"name": "c", "image": "localhost/none"}]},
    }
    done = subprocess.run(
        ["kubectl", "--kubeconfig", str(created.state / "kube/acme.config"), "create", "-f", "-"],
        input=json.dumps(pod),
        env=created.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr


def test_a_task_on_the_cluster_ends_in_a_pull_request(created: Admin, walk: readme.Walk) -> None:
    walk.run("secret set acme")
    walk.run("guildnet doctor acme")
    walk.run("git add .")
    walk.run("git push -u origin main")
    asyncio.run(asyncio.to_thread(_work, walk))


def _work(walk: readme.Walk) -> None:
    (hooks,) = free_ports(1)
    with walk.running("guildnet reconciler", more=f"--listen 127.0.0.1:{hooks}") as reconciler:
        ready = f"http://127.0.0.1:{hooks}/ready"
        readme.until("reconciler", lambda: readme._answers(ready), reconciler.read_text)
        walk.run("task new acme/fix-login")
        walk.run("git push")
        with walk.running("guildnet status acme/fix-login --watch") as status:

            def logs() -> str:
                return f"{status.read_text()}\n\n{reconciler.read_text()[-4000:]}"

            readme.until("result", lambda: "TaskSucceeded" in status.read_text(), logs)
    (pull,) = walk.admin.pull_requests(readme.PRODUCT)
    content = walk.admin.read_file(readme.PRODUCT, "FIXED.md", pull["head"]["ref"])
    assert content == b"Fix the login redirect loop\n"
