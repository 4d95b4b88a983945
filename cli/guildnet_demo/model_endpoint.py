"""The demo's model provider: a scripted endpoint that leads a real coding agent to the repair."""

from __future__ import annotations

import sys
from pathlib import Path

from guildnet_devcluster.scripted_model.script import Script

#: The agent that repairs the product; the work image of the demo's clusters has its program.
PRESET = "codex"
PROTOCOL = "openai-responses"
MODEL, SECRET = "main", "model-key"
#: Unknown to the agent, which then keeps to plain function tools.
MODEL_NAME = "scripted-model"
#: USD for a million tokens: input, output.
PRICES = (3, 15)

#: The repair of the product, and its test, which leaves an artifact as well.
SCRIPT = Script(
    folder="/workspace/stats",
    path="stats.py",
    old="    return sum(numbers) / len(numbers)",
    new="    return sum(numbers) / len(numbers) if numbers else 0.0",
    test="python3 -m unittest -q && echo '"
    '{"command": "python3 -m unittest", "passed": true}'
    "' > ~/.guildnet/state/tests.json",
)


def org_options(url: str) -> tuple[str, ...]:
    """The options of `guildnet org add` that offer the endpoint to an org's tasks."""
    price = "/".join(str(amount) for amount in PRICES)
    return (
        *("--model", f"{MODEL}={url}", "--model-protocol", PROTOCOL, "--model-name", MODEL_NAME),
        *("--model-secret", SECRET, "--model-price", f"{MODEL_NAME}={price}"),
    )


def serve_command(port: int, key_file: Path) -> list[str]:
    """The command that serves the endpoint to pods until it is stopped."""
    return [
        *(sys.executable, "-m", "guildnet_devcluster.scripted_model"),
        *("--host=0.0.0.0", f"--port={port}", f"--key-file={key_file}"),
        *("--folder", SCRIPT.folder, "--path", SCRIPT.path, "--test", SCRIPT.test),
        # Values that start with spaces or dashes need the equals sign.
        *(f"--old={SCRIPT.old}", f"--new={SCRIPT.new}"),
    ]
