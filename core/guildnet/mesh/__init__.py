"""What the operator, the command line and the control server's policy agree on about a mesh. Pure.

The names of peers, tags and users, and the settings in an org's `spec.mesh`. Talking to a control
server belongs to the operator.
"""

from guildnet.mesh.names import (
    CLUSTER_PORT,
    CLUSTER_TAG,
    RECONCILER_TAG,
    cluster_peer_name,
    default_tag,
    peer_name,
    user_name,
)
from guildnet.mesh.policy import mesh_policy, policy_text, shared_tags, tag_problems
from guildnet.mesh.settings import (
    VENDOR_API,
    VENDOR_LOGIN_SERVER,
    MeshSettings,
    is_vendor,
    login_server_problem,
    mesh_problems,
    mesh_settings,
)

__all__ = [
    "CLUSTER_PORT",
    "CLUSTER_TAG",
    "RECONCILER_TAG",
    "VENDOR_API",
    "VENDOR_LOGIN_SERVER",
    "MeshSettings",
    "cluster_peer_name",
    "default_tag",
    "is_vendor",
    "login_server_problem",
    "mesh_policy",
    "mesh_problems",
    "mesh_settings",
    "peer_name",
    "policy_text",
    "shared_tags",
    "tag_problems",
    "user_name",
]
