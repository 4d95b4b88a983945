"""The provider and the gateway of the model gateway's benchmark; each runs as a separate process.

`python -m benchmarks.model_processes provider | gateway BASE_URL` prints its port.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from guildnet_agent.supervisor.model_gateway.access import ModelEndpoint
from guildnet_agent.supervisor.model_gateway.budget import Budget
from guildnet_agent.supervisor.model_gateway.gateway import ModelGateway
from guildnet_agent.supervisor.model_gateway.ledger import Ledger
from guildnet_agent.supervisor.model_gateway.serving import serve_gateway
from guildnet_agent.supervisor.model_gateway.session import GatewaySession
from guildnet_agent.supervisor.model_gateway.upstream import Upstream

KEY, MODEL = "benchmark-key", "benchmark-model"
BATCH = 10
"""Events that a paced stream sends together."""

_TEXT = "a few words of an answer, as a provider streams them "
_DELTA = {"type": "text_delta", "text": _TEXT}


def _event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


class _Provider(BaseHTTPRequestHandler):
    """Streams `max_tokens` events in the Messages protocol, pausing `metadata.pause` seconds after
    each batch."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing: a benchmark prints figures only."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        count, pause = int(request["max_tokens"]), float(request["metadata"]["pause"])
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        usage = {"input_tokens": 10, "output_tokens": 1}
        self.wfile.write(_event("message_start", message={"model": MODEL, "usage": usage}))
        batch = BATCH * _event("content_block_delta", index=0, delta=_DELTA)
        began = time.monotonic()
        for number in range(count // BATCH):
            self.wfile.write(batch)
            ahead = began + (number + 1) * pause - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        self.wfile.write(_event("message_delta", usage={"output_tokens": count}))
        self.wfile.write(_event("message_stop"))


def serve_provider() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
    print(server.server_address[1], flush=True)
    server.serve_forever()


async def run_gateway(base_url: str) -> None:
    upstream = Upstream()
    gateway = ModelGateway(upstream)
    endpoint = ModelEndpoint(("anthropic",), base_url, (MODEL,), {}, KEY)
    gateway.open(
        GatewaySession(
            endpoint,
            KEY,
            Budget(),
            Ledger(),
            changed=lambda ledger: None,
            exhausted=lambda text: None,
            warn=lambda text: None,
        )
    )
    listener = socket.create_server(("127.0.0.1", 0))
    async with serve_gateway(gateway, listener):
        print(listener.getsockname()[1], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "provider":
        serve_provider()
    else:
        asyncio.run(run_gateway(sys.argv[2]))
