"""The programs of a devcluster, compiled once from pinned Go modules and kept in the cache.

Each component has a folder under `modules/` with its own go.mod and go.sum; the repository contains
no binaries and no third-party source.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from guildnet.errors import GuildNetError

from .build_cache import cache_folder, exclusive
from .go_build import Build, BuildFailed, compile_to
from .go_toolchain import ensure_go
from .packages import ensure_packages
from .progress import Progress, StepProgress

MODULES = Path(__file__).parent / "modules"

KUBERNETES_VERSION = "1.36.2"
ETCD_VERSION = "3.6.9"
CONTAINERD_VERSION = "2.4.2"
TALOS_VERSION = "1.13.0"
HEADSCALE_VERSION = "0.26.1"
TAILSCALE_VERSION = "1.102.5"
HELM_VERSION = "4.3.1"
_KUBE_VERSION_PACKAGE = "k8s.io/component-base/version"
_TAILSCALE = ("containerboot", "tailscale", "tailscaled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One Go module under `modules/` and the programs built from it."""

    #: Also the name of the folder under modules/.
    name: str
    version: str
    packages: tuple[str, ...]
    #: Names of the programs; a single package's program is built under this name.
    binaries: tuple[str, ...]
    #: Duration of a cold build on 2 idle cores, shown before it starts.
    minutes: float
    cgo: bool = False
    tags: tuple[str, ...] = ()
    ldflags: str = "-s -w"
    #: Packages required to compile it.
    debian_packages: tuple[str, ...] = ()
    #: Whether only some commands or tests need it; it is not compiled in advance for the others.
    optional: bool = False

    @property
    def module(self) -> Path:
        """The folder of its go.mod."""
        return MODULES / self.name


_KUBERNETES = tuple(
    f"kube{part}" for part in ("-apiserver", "-controller-manager", "-proxy", "-scheduler", "let")
)

COMPONENTS: Mapping[str, Component] = {
    component.name: component
    for component in (
        Component(
            name="kubernetes",
            version=KUBERNETES_VERSION,
            packages=tuple(f"k8s.io/kubernetes/cmd/{program}" for program in _KUBERNETES),
            binaries=_KUBERNETES,
            minutes=8.5,
            # Without these the API server reports version v0.0.0.
            ldflags=f"-s -w -X {_KUBE_VERSION_PACKAGE}.gitVersion=v{KUBERNETES_VERSION}"
            f" -X {_KUBE_VERSION_PACKAGE}.gitMajor=1 -X {_KUBE_VERSION_PACKAGE}.gitMinor=36"
            f" -X {_KUBE_VERSION_PACKAGE}.gitTreeState=clean",
        ),
        Component(
            name="etcd",
            # Not 3.7: it refuses the --experimental-* flags that Talos 1.13 starts it with.
            version=ETCD_VERSION,
            packages=("go.etcd.io/etcd/server/v3",),
            binaries=("etcd",),
            minutes=0.6,
        ),
        Component(
            name="containerd",
            version=CONTAINERD_VERSION,
            packages=tuple(
                f"github.com/containerd/containerd/v2/cmd/{program}"
                for program in ("containerd", "containerd-shim-runc-v2", "ctr")
            ),
            binaries=("containerd", "containerd-shim-runc-v2", "ctr"),
            minutes=1.3,
            ldflags="-s -w -X github.com/containerd/containerd/v2/version.Version="
            f"v{CONTAINERD_VERSION}",
        ),
        Component(
            name="runc",
            version="1.5.2",
            packages=("github.com/opencontainers/runc",),
            binaries=("runc",),
            minutes=0.3,
            cgo=True,
            tags=("seccomp",),
            debian_packages=("libseccomp-dev", "pkg-config", "gcc", "libc6-dev"),
        ),
        Component(
            name="pause",
            version="1",
            packages=("guildnet.io/devcluster/pause",),
            binaries=("pause",),
            minutes=0.1,
        ),
        Component(
            name="gitea",
            version="1.26.4",
            packages=("code.gitea.io/gitea",),
            binaries=("gitea",),
            minutes=4,
            cgo=True,
            tags=("sqlite", "sqlite_unlock_notify", "timetzdata"),
            debian_packages=("gcc", "libc6-dev"),
        ),
        Component(
            name="headscale",
            version=HEADSCALE_VERSION,
            packages=("github.com/juanfont/headscale/cmd/headscale",),
            binaries=("headscale",),
            minutes=2.5,
            ldflags="-s -w -X github.com/juanfont/headscale/hscontrol/types.Version="
            f"v{HEADSCALE_VERSION}",
            optional=True,
        ),
        Component(
            name="tailscale",
            version=TAILSCALE_VERSION,
            packages=tuple(f"tailscale.com/cmd/{program}" for program in _TAILSCALE),
            binaries=_TAILSCALE,
            minutes=3.5,
            # Without these the programs report version 1.102.5-ERR-BuildInfo.
            ldflags=f"-s -w -X tailscale.com/version.shortStamp={TAILSCALE_VERSION}"
            f" -X tailscale.com/version.longStamp={TAILSCALE_VERSION}",
            optional=True,
        ),
        Component(
            name="talos",
            version=TALOS_VERSION,
            packages=(
                "github.com/siderolabs/talos/internal/app/machined",
                "github.com/siderolabs/talos/cmd/talosctl",
            ),
            binaries=("machined", "talosctl"),
            minutes=7,
            # Those of Talos' own build, apart from the embedded assets of a release.
            tags=("tcell_minimal", "grpcnotrace"),
            optional=True,
        ),
        Component(
            name="runc-wrapper",
            version="1",
            packages=("guildnet.io/devcluster/runc-wrapper",),
            binaries=("runc-wrapper",),
            minutes=0.1,
            optional=True,
        ),
        Component(
            name="helm",
            version=HELM_VERSION,
            packages=("helm.sh/helm/v4/cmd/helm",),
            binaries=("helm",),
            minutes=2,
            ldflags=f"-s -w -X helm.sh/helm/v4/internal/version.version=v{HELM_VERSION}",
            optional=True,
        ),
        Component(
            name="promtool",
            version="0.316.0",
            packages=("github.com/prometheus/prometheus/cmd/promtool",),
            binaries=("promtool",),
            minutes=3,
            optional=True,
        ),
    )
}

#: The components that every devcluster with a node, and the forge, are made of.
BASE_COMPONENTS = tuple(name for name, each in COMPONENTS.items() if not each.optional)


def ensure(name: str, progress: Progress) -> Path:
    """Return the folder with the programs of component `name`, building them if not cached.

    Raises KeyError for an unknown name and GuildNetError if the build fails.
    """
    component = COMPONENTS[name]
    built = _folder(component)
    if built.is_dir():
        return built
    ensure_packages(component.debian_packages, progress)
    go = ensure_go(progress)
    # One build at a time: parallel builds on a small machine only slow each other down.
    with exclusive(cache_folder() / "components.lock"):
        if not built.is_dir():
            title = f"compiling {name} {component.version} (once; kept in the cache)"
            with progress.step(title, timedelta(minutes=component.minutes)) as step:
                _build(component, go, built, step)
    return built


def is_built(name: str) -> bool:
    """Whether component `name` is in the cache. Raises KeyError for an unknown name."""
    return _folder(COMPONENTS[name]).is_dir()


def module_folder(component: Component, module: str, progress: Progress) -> Path:
    """Go's read-only folder with the sources of `module`, pinned by `component`; downloaded if
    missing. Raises GuildNetError if it cannot be downloaded.
    """
    go = str(ensure_go(progress))
    for command in (["mod", "download", module], ["list", "-m", "-f", "{{.Dir}}", module]):
        done = subprocess.run(
            [go, *command],
            cwd=component.module,
            env=go_environment(component),
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise GuildNetError(
                f"the sources of {module} cannot be downloaded: {done.stderr.strip()[-400:]}",
                place=str(component.module / "go.mod"),
                cure="Check that the Go module mirror is reachable, then run the command again.",
            )
    return Path(done.stdout.strip())


def go_environment(component: Component) -> dict[str, str]:
    """The environment for its `go` commands."""
    return {
        **os.environ,
        "CGO_ENABLED": "1" if component.cgo else "0",
        "GOFLAGS": "-buildvcs=false",
        # Trade memory for compile time.
        "GOGC": os.environ.get("GOGC", "400"),
    }


def _folder(component: Component) -> Path:
    name = f"{component.name}-{component.version}-{_digest(component)}"
    return cache_folder() / "components" / name


def _build(component: Component, go: Path, built: Path, step: StepProgress) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in built.parent.glob(f".{component.name}-*"):
        # We hold the lock, so the build that created it was killed.
        shutil.rmtree(abandoned, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{component.name}-", dir=built.parent))
    try:
        output = scratch / component.binaries[0] if len(component.packages) == 1 else scratch
        compile_to(_go_build(component, go), output, step)
        scratch.chmod(0o755)
        scratch.rename(built)
    except BuildFailed as error:
        raise GuildNetError(
            f"compiling {component.name} {component.version} failed: {str(error)[-1500:]}",
            place=str(component.module / "go.mod"),
            cure="Check that the Go module mirror is reachable, then run the same command again.",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _go_build(component: Component, go: Path) -> Build:
    return Build(
        go=go,
        module=component.module,
        environment=go_environment(component),
        flags=("-trimpath", *_flags(component)),
        packages=component.packages,
    )


def _flags(component: Component) -> list[str]:
    tags = ["-tags", " ".join(component.tags)] if component.tags else []
    return [*tags, "-ldflags", component.ldflags]


def _digest(component: Component) -> str:
    """Twelve hex digits over everything that affects the programs."""
    digest = hashlib.sha256()
    for file in sorted(path for path in component.module.rglob("*") if path.is_file()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    options = (component.packages, component.binaries, component.cgo, _flags(component))
    digest.update(repr((options, platform.system(), platform.machine())).encode())
    return digest.hexdigest()[:12]
