"""Names that come from outside, and the forms that they must have. Pure, standard library only.

A name becomes part of paths, commit messages, URLs and pages. Each is checked where it comes in;
the schemas carry the same patterns.
"""

from __future__ import annotations

import re

#: An org or a task: a DNS label, short enough for what is derived from it to be one as well.
NAME_PATTERN = r"[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?"

_NAME = re.compile(NAME_PATTERN)
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_WORD = re.compile(r"[A-Za-z]{1,64}")


def is_name(value: object) -> bool:
    """Whether `value` can name an org or a task."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_object_name(value: object) -> bool:
    """Whether `value` is a DNS subdomain, as Kubernetes asks of most objects' names."""
    return isinstance(value, str) and _OBJECT.fullmatch(value) is not None


def is_word(value: object) -> bool:
    """Whether `value` is one word of letters, such as a phase or a reason."""
    return isinstance(value, str) and _WORD.fullmatch(value) is not None
