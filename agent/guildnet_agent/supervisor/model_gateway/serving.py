"""The gateway's port: on the pod's loopback only."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from guildnet_agent.supervisor.listener import listen
from guildnet_agent.supervisor.model_gateway.gateway import ModelGateway

GATEWAY_ADDRESS = "127.0.0.1"
MAX_CONNECTIONS = 64


class GatewayServer(uvicorn.Server):
    """uvicorn without signal handlers: `main` decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def gateway_server(gateway: ModelGateway) -> GatewayServer:
    config = uvicorn.Config(
        gateway,
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    return GatewayServer(config)


def gateway_socket(port: int) -> socket.socket:
    """ConfigurationError where the port is taken."""
    return listen(GATEWAY_ADDRESS, port)
