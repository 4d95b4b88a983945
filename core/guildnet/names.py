"""Checks of names from outside. Pure, standard library only.

Names become part of paths, commit messages, URLs and pages, so each is checked where it enters.
The schemas contain the same patterns.
"""

from __future__ import annotations

import re

#: An org or a task: a DNS label, short enough that names derived from it are DNS labels too.
NAME_PATTERN = r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?"

_NAME = re.compile(NAME_PATTERN)
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z]{1,64}")


def is_name(value: object) -> bool:
    """Whether `value` can name an org or a task."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_object_name(value: object) -> bool:
    """Whether `value` is a DNS subdomain, as Kubernetes requires of most names."""
    return isinstance(value, str) and _OBJECT.fullmatch(value) is not None


def is_word(value: object) -> bool:
    """Whether `value` is one word of letters, such as a phase or a reason."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None
