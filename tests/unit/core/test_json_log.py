"""A log line is one JSON object that says whom it is about, without secrets of URLs."""

from __future__ import annotations

import json
import logging

from guildnet.errors import GitUnavailable
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


def logged(error: Exception) -> dict[str, str]:
    record = logging.LogRecord(
        "x", logging.ERROR, "x.py", 1, "failed", (), (type(error), error, error.__traceback__)
    )
    found: dict[str, str] = json.loads(JsonLines(dict).format(record))
    return found


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        try:
            if cause is not None:
                raise cause
        except Exception as found:
            raise error from found
        raise error
    except Exception as found:
        return found


def test_what_a_library_said_is_not_repeated_beside_our_own_words() -> None:
    """I8: libraries put headers and URLs into their errors; the adapter has cleaned its message."""
    ours = GitUnavailable("no answer: ***", place="https://h")
    cause = ValueError("Illegal header value b'Bearer sesame'")
    text = logged(raised(raised(ours, cause)))["exception"]
    assert "sesame" not in text
    assert "GitUnavailable: https://h: no answer: ***" in text
    assert text.endswith("ValueError")
    assert "test_json_log.py" in text


def test_an_unmapped_error_keeps_its_message() -> None:
    """Where it was raised, what it says and what it was raised from: a defect has to be found."""
    text = logged(raised(KeyError("metadata"), TypeError("not a dict")))["exception"]
    assert "KeyError: 'metadata'" in text
    assert "TypeError: not a dict" in text
    group = ExceptionGroup("both", [raised(ValueError("one")), raised(ValueError("two"))])
    text = logged(raised(group))["exception"]
    assert "ValueError: one" in text
    assert "ValueError: two" in text
