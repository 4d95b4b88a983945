"""The differences that a dry run reports, without the keys that its lines contain. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from guildnet.redact import MASK, Redactor
from guildnet.talos.secret_values import is_secret_name, secret_in
from guildnet.text import clean_text

MAX_LINES = 400
_NO_CHANGES = "No changes."
_DIFF = "Config diff:"
_LINE = re.compile(r"^([-+ ])(\s*(?:-\s+)?)([\w./-]+):(?:\s+(.*))?$")
_KUBERNETES_IMAGE = re.compile(
    r"^[-+]\s*image:\s*\S*/(?:kubelet|kube-(?:apiserver|controller-manager|scheduler|proxy))[:@]"
)
_PLAIN = re.compile(r"true|false|null|-?\d+(?:\.\d+)?|\{\}|\[\]|\"\"")
_OPAQUE = re.compile(r"[A-Za-z0-9+/_=-]{40,}")


def changed_lines(dry_run: str, redact: Redactor) -> list[str]:
    """The changed lines of a dry run, as in a unified diff; empty for "No changes.".

    Of the unchanged lines around them only those stay that name a section: others can hold keys.
    Raises ValueError for text that is not the report of a dry run.
    """
    _, found, report = dry_run.partition(_DIFF)
    if not found:
        raise ValueError("no configuration diff in the report")
    if report.strip() == _NO_CHANGES:
        return []
    lines = [_shown(line) for line in redact(clean_text(report, len(report))).splitlines()]
    kept = [line for line in lines if line is not None]
    if len(kept) > MAX_LINES:
        rest = kept[MAX_LINES:]
        images = [line for line in rest if _KUBERNETES_IMAGE.match(line)][:MAX_LINES]
        kept = [*kept[:MAX_LINES], *images, f"... {len(rest) - len(images)} more lines"]
    return kept


def public_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """Changed lines as they may be published, where more people read them and for ever.

    Lines that git adds are in git anyway. Of what somebody set on the machine by hand, only the
    field is shown: a secret in free text is not recognized by its form.
    """
    return tuple(map(_public, lines))


def _public(line: str) -> str:
    if not line.startswith("-") or _KUBERNETES_IMAGE.match(line):
        return line
    found = _LINE.match(line)
    if found is None:
        return f"-{line[1 : len(line) - len(line[1:].lstrip())]}{MASK}"
    sign, indent, name, value = found.groups()
    if not value or _PLAIN.fullmatch(value):
        return line
    return f"{sign}{indent}{name}: {MASK}"


def changes_kubernetes(lines: Iterable[str]) -> bool:
    """Whether a difference would replace Kubernetes' own programs by another version: applying it
    would upgrade or downgrade all of them at once, in no order."""
    return any(_KUBERNETES_IMAGE.match(line) for line in lines)


def _shown(line: str) -> str | None:
    if line.startswith(("--- ", "+++ ")) or not line.strip():
        return None
    if line.startswith("@@"):
        return "@@"
    if _KUBERNETES_IMAGE.match(line):
        return line  # whole, however long: whether it may be applied depends on it
    found = _LINE.match(line)
    if line.startswith(" "):
        return line if found and not found[4] else None
    if not line.startswith(("+", "-")):
        return None
    if found and found[4]:
        sign, indent, name, value = found.groups()
        if name == "key" or is_secret_name(name) or secret_in((name,), value.strip("\"'")):
            return f"{sign}{indent}{name}: {MASK}"
    # An item of a list, or a line of a text that holds another file.
    elif secret_in((), line[1:].strip().removeprefix("- ").strip("\"'")):
        return f"{line[0]}{MASK}"
    return _OPAQUE.sub(MASK, line)
