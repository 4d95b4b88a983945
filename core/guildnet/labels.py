"""Labels, annotations, finalizers, field managers, ports and names that components share."""

from __future__ import annotations

GROUP = "guildnet.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
PLURAL = "agenttasks"
KIND_ORG = "Org"
KIND_TASK = "Task"
KIND_AGENT_TASK = "AgentTask"

# Labels
MANAGED_BY = "app.kubernetes.io/managed-by"
APP_NAME = "app.kubernetes.io/name"
APP_VERSION = "app.kubernetes.io/version"
ORG = f"{GROUP}/org"
TASK = f"{GROUP}/task"
# What a task may use an object for: Secrets git | agent-env | model | mesh, ConfigMaps context; and
# which Secrets beside the reconciler are kubeconfigs
USE = f"{GROUP}/use"
USE_KUBECONFIG = "kubeconfig"

# Annotations
HOSTS = f"{GROUP}/hosts"  # on git, model and mesh Secrets: see `guildnet.secrets`
SOURCE_PATH = f"{GROUP}/source-path"
SOURCE_BLOB = f"{GROUP}/source-blob"
SOURCE_REVISION = f"{GROUP}/source-revision"
SPEC_DIGEST = f"{GROUP}/spec-digest"
DEFAULTS_DIGEST = f"{GROUP}/defaults-digest"
RUN_DIGEST = f"{GROUP}/run-digest"
HOLDER_VERSION = f"{GROUP}/holder-version"  # on Leases: "VERSION HOLDER"

RECORDED_FINALIZER = f"{GROUP}/recorded"

RECONCILER = "guildnet-reconciler"  # field manager, managed-by value, Lease name
OPERATOR = "guildnet-operator"
AGENT = "guildnet-agent"

ORG_CONFIG_MAP = "guildnet-org"
OPERATOR_NAMESPACE = "guildnet-system"

# Ports, users and paths of the agent's pod
AGENT_PORT = 8484
EDITOR_PORT = 8443
GATEWAY_PORT = 8486  # the model gateway, on the pod's loopback
SUPERVISOR_UID = 10001
WORK_UID = 10002
MESH_UID = 10003
AGENT_GROUP = 10000

# Commit trailers
APPROVE_DELETIONS = "Approve-Deletions"
APPROVE_MOVE = "Approve-Move"
ACCEPT_HISTORY = "Accept-History"
SOURCE_REVISION_TRAILER = "Source-Revision"
RUN_TRAILER = "GuildNet-Run"
BASE_TRAILER = "GuildNet-Base"  # the commit that a checkpoint's work is based on

SOURCE_BRANCH = "main"
STATUS_BRANCH = "status"
AGENT_BRANCHES = "guildnet"
CHECKPOINT_BRANCHES = "guildnet-wip"


def agent_branch(org: str, task: str, run: int) -> str:
    """The branch that a run's work is pushed to, unless it continues an earlier one."""
    return f"{AGENT_BRANCHES}/{org}/{task}" + ("" if run == 1 else f".r{run}")


def checkpoint_branch(org: str, task: str, run: int) -> str:
    """The branch with the checkpoints of a run in progress."""
    return f"{CHECKPOINT_BRANCHES}/{org}/{task}.r{run}"


def run_trailer(org: str, task: str, run: int) -> str:
    """The value of the `GuildNet-Run` trailer: which run a commit belongs to."""
    return f"{org}/{task}/{run}"


def child_name(task: str, uid: str) -> str:
    """The name of the objects that the operator creates for one AgentTask."""
    return f"{task}-{uid[:5]}"
