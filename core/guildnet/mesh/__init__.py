"""What the operator, the command line and the control server's policy agree on about a mesh. Pure.

The names of peers, tags and users, and the settings in an org's `spec.mesh`. Talking to a control
server belongs to the operator.
"""

from guildnet.mesh.names import default_tag, peer_name, user_name
from guildnet.mesh.settings import (
    VENDOR_API,
    VENDOR_LOGIN_SERVER,
    MeshSettings,
    is_vendor,
    mesh_problems,
    mesh_settings,
)

__all__ = [
    "VENDOR_API",
    "VENDOR_LOGIN_SERVER",
    "MeshSettings",
    "default_tag",
    "is_vendor",
    "mesh_problems",
    "mesh_settings",
    "peer_name",
    "user_name",
]
