"""A log line is one JSON object that says whom it is about, without secrets of URLs."""

from __future__ import annotations

import json
import logging

from guildnet.json_log import JsonLines


def test_a_line_tells_its_subject_and_keeps_secrets_of_urls() -> None:
    """I8"""
    record = logging.LogRecord(
        "guildnet_operator", logging.WARNING, "x.py", 1,
        "fetched %s", ("https://bot:sesame@git.example/x?token=sesame",), None,
    )  # fmt: skip
    record.task, record.run = "fix-login", 2
    text = JsonLines(lambda: {"namespace": "agents", "revision": None}).format(record)
    line = json.loads(text)
    assert "sesame" not in text
    assert "\n" not in text
    assert line["message"] == "fetched https://git.example/x?***"
    assert (line["task"], line["run"], line["namespace"]) == ("fix-login", 2, "agents")
    assert (line["level"], line["logger"]) == ("warning", "guildnet_operator")
    assert "revision" not in line
    assert "org" not in line
