"""The gateway's port: on the pod's loopback only."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager

from guildnet.serving import Limits, serving
from guildnet_agent.supervisor.listener import listen
from guildnet_agent.supervisor.model_gateway.gateway import MAX_BODY_SECONDS, ModelGateway

GATEWAY_ADDRESS = "127.0.0.1"
LIMITS = Limits(total=256, per_peer=64, body_seconds=MAX_BODY_SECONDS, stall_seconds=300.0)


def gateway_socket(port: int) -> socket.socket:
    """ConfigurationError where the port is taken."""
    return listen(GATEWAY_ADDRESS, port)


def serve_gateway(gateway: ModelGateway, door: socket.socket) -> AbstractAsyncContextManager[None]:
    """Serve while the block lasts."""
    return serving(gateway, [door], LIMITS)
