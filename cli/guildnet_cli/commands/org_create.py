"""`guildnet org create`: an org with a new cluster of Talos machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from guildnet_cli.commands.org import ModelOptions, OrgNameArgument
from guildnet_cli.options import (
    AgentsNamespaceOption,
    CheckoutOption,
    EgressOption,
    PresetOption,
    TaskCommandOption,
    options,
)
from guildnet_cli.output import Format, FormatOption, emit, examples, say

EPILOG = examples(
    "guildnet org create acme --talos --control-plane 10.0.0.2 --worker 10.0.0.3 \\",
    "    --talos-version v1.13.0 --kubernetes-version v1.36.2 --patch all=disk.yaml \\",
    "    --command 'my-agent --task \"$0\"' --egress git.example",
    "guildnet org create acme --talos    # again: does what is left to do",
)


@dataclass(frozen=True)
class TalosOptions:
    """spec.talos of a new org."""

    talos: Annotated[
        bool, typer.Option("--talos", help="Make the cluster of Talos machines (required).")
    ] = False
    control_plane: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="A machine of the control plane. Repeatable."),
    ] = None
    worker: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="A worker. Repeatable.")
    ] = None
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The URL of the Kubernetes API. Default: port 6443 of the first control plane.",
        ),
    ] = None
    talos_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The Talos version of the machines.")
    ] = None
    kubernetes_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The Kubernetes version to install.")
    ] = None
    patch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TARGET=]FILE",
            help="A patch of the machine configuration, copied into the repository. TARGET is all, "
            "controlplane, worker or an address. Repeatable.",
        ),
    ] = None
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS=FINGERPRINT",
            help="The certificate fingerprint on a machine's console. Repeatable.",
        ),
    ] = None
    age_recipient: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RECIPIENT",
            help="Keep the cluster's secrets in git, encrypted for this age recipient. Repeatable.",
        ),
    ] = None

    def entry(self, org: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """(spec.talos, contents of the patches by their paths in the repository)."""
        from guildnet.talos.spec import patch_folder

        given = {
            "--control-plane": self.control_plane,
            "--talos-version": self.talos_version,
            "--kubernetes-version": self.kubernetes_version,
        }
        missing = [name for name, value in given.items() if not value]
        if missing:
            raise typer.BadParameter(f"a new org needs {', '.join(missing)}")
        first = (self.control_plane or [""])[0]
        host = f"[{first}]" if ":" in first else first
        talos: dict[str, Any] = {
            "endpoint": self.endpoint or f"https://{host}:6443",
            "version": self.talos_version,
            "kubernetesVersion": self.kubernetes_version,
            "controlPlanes": list(self.control_plane or ()),
        }
        if self.worker:
            talos["workers"] = list(self.worker)
        if self.fingerprint:
            pairs = [text.partition("=")[::2] for text in self.fingerprint]
            talos["certificateFingerprints"] = dict(pairs)
        if self.age_recipient:
            talos["ageRecipients"] = list(self.age_recipient)
        contents: dict[str, bytes] = {}
        entries = []
        for text in self.patch or ():
            target, file = self._target(text)
            path = f"{patch_folder(org)}/{file.name}"
            content = _read(file)
            if contents.setdefault(path, content) != content:
                raise typer.BadParameter(f"two patches are named {file.name}")
            entries.append({"path": path, **({"target": target} if target != "all" else {})})
        if entries:
            talos["patches"] = entries
        return talos, contents

    def _target(self, text: str) -> tuple[str, Path]:
        target, _, file = text.partition("=")
        machines = (*(self.control_plane or ()), *(self.worker or ()))
        if file and target in ("all", "controlplane", "worker", *machines):
            return target, Path(file)
        return "all", Path(text)


def _read(file: Path) -> bytes:
    from guildnet.errors import ConfigurationError
    from guildnet.loading import MAX_FILE_BYTES

    try:
        with file.expanduser().open("rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read: {error.strerror}", place=str(file)) from error


@options(talos=TalosOptions, model=ModelOptions)
def create(
    name: OrgNameArgument,
    *,
    talos: TalosOptions,
    namespace: AgentsNamespaceOption = "agents",
    command: TaskCommandOption = None,
    egress: EgressOption = None,
    preset: PresetOption = None,
    model: ModelOptions,
    image: Annotated[
        str | None, typer.Option(help="The image of the operator and the supervisors.")
    ] = None,
    work_image: Annotated[
        str | None, typer.Option(help="The image for tasks that do not name one.")
    ] = None,
    timeout: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, help="How long each step may wait.")
    ] = 600,
    repo: CheckoutOption = Path(),
    output: FormatOption = Format.TEXT,
) -> None:
    """Make an org and its cluster from Talos machines.

    Writes orgs/NAME.yaml and its patches, configures the machines, starts etcd, stores the
    kubeconfig, installs the operator and runs doctor. Run it again after any interruption; an
    org's file that exists is used as it is. Exits with 1 when a check of doctor fails.
    """
    from datetime import timedelta

    from guildnet.errors import InvalidResource
    from guildnet.resources import org_path
    from guildnet.talos.patches import patch_problems
    from guildnet.work_tree import WorkTree
    from guildnet_cli.cluster import checks
    from guildnet_cli.repository.org_file import new_org
    from guildnet_cli.talos.creating import create_cluster
    from guildnet_cli.talos.opening import alone, find_org_in, find_spec

    if not talos.talos:
        raise typer.BadParameter(
            "only clusters of Talos machines can be created: give --talos, or add an existing "
            "cluster with `guildnet org add`"
        )
    tree = WorkTree(repo)
    if tree.kind(org_path(name)) is None:
        spec, patches = talos.entry(name)
        path, content = new_org(
            name,
            context=None,
            namespace=namespace,
            command=command,
            egress=egress or (),
            preset=preset,
            models=model.entry(),
            talos=spec,
        )
        problems = [
            problem
            for patch, patch_content in patches.items()
            for problem in patch_problems(patch_content, patch, spec["version"])
        ]
        if problems:
            raise InvalidResource(problems)
        # The org's file last: where it exists, the patches do too.
        for patch, patch_content in patches.items():
            tree.create(patch, patch_content)
        tree.create(path, content)
        say(f"wrote {path}")
    else:
        say(f"{org_path(name)} exists and is used as it is")
    find_spec(repo, name)
    with alone(name) as state:
        results = create_cluster(
            repo,
            find_org_in(repo, name),
            state,
            images=(image, work_image),
            timeout=timedelta(seconds=timeout),
        )
    found = {name: results}
    emit(checks.to_json(found), output, lambda: checks.to_text(found))
    if all(result.good for result in results):
        say(f"{name} is ready. Next: git add orgs && git commit -m 'Add org {name}' && git push")
    raise typer.Exit(0 if all(result.good for result in results) else 1)
