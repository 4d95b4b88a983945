"""HTTP servers that strangers cannot exhaust: every port that GuildNet opens is served by this.

Three bounds hold for each server: connections in total (below the descriptor limit) and for each
peer, the time until a request is complete, and the time a reader may stall an answer.
"""

from guildnet.serving.addresses import host_name, is_local_name, parse_listen
from guildnet.serving.descriptors import raise_descriptor_limit
from guildnet.serving.limits import Limits, peer_address
from guildnet.serving.server import BoundedServer, bind, http_config, serving

__all__ = [
    "BoundedServer",
    "Limits",
    "bind",
    "host_name",
    "http_config",
    "is_local_name",
    "parse_listen",
    "peer_address",
    "raise_descriptor_limit",
    "serving",
]
