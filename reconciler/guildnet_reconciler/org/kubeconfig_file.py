"""Where the credential of an org's cluster comes from, and whether it has been replaced since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guildnet import labels
from guildnet.errors import ConfigurationError
from guildnet.secret_files import FileStamp, file_stamp
from guildnet_reconciler.settings import Settings


@dataclass(frozen=True, slots=True)
class KubeconfigSource:
    """A kubeconfig as it was when it was opened. `path` is None for the pod's service account,
    whose token is read anew for each request."""

    path: Path | None
    stamp: FileStamp | None

    @classmethod
    def of(cls, settings: Settings, org: str, name: str) -> KubeconfigSource:
        """Raises ConfigurationError for a missing kubeconfig."""
        if settings.in_cluster:
            return cls(None, None)
        path = settings.kubeconfig_path(name)
        stamp = file_stamp(path)
        if stamp is None:
            store = f"store it: guildnet org add {org} --kubeconfig FILE"
            label = f"{labels.USE}={labels.USE_KUBECONFIG}"
            create = (
                f"create a Secret {name!r} with the key kubeconfig and the label {label} in the "
                f"reconciler's namespace"
            )
            raise ConfigurationError(
                f"the kubeconfig {name!r} is missing",
                place=f"orgs/{org}.yaml",
                cure=create if settings.kubeconfig_secrets else store,
            )
        return cls(path, stamp)

    @property
    def is_outdated(self) -> bool:
        """Whether the file has been replaced or removed."""
        return self.path is not None and file_stamp(self.path) != self.stamp
