"""Recognises secrets in values of machine configurations, by where they are and how they look.

Pure. It knows the fields that Talos itself treats as secret (`Redact` in its source) and forms of
keys and tokens; a secret of another form, in a field of free text, passes.
"""

from __future__ import annotations

import base64
import binascii
import re

from guildnet.yaml_reader import Place

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{24,}={0,2}\s*")
# Names that end in one of these words: `token`, `bootstrapToken`, `TS_AUTHKEY`, `client-secret`.
_SECRET_NAME = re.compile(
    r"(?:^|.*[^a-z])(?:token|secret|password|passwd|passphrase|privatekey|presharedkey|authkey"
    r"|apikey|accesskey|secretkey|credentials?|identitytoken|bootstraptoken|jointoken"
    r"|encryptionsecret)",
)
_BOOTSTRAP_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_KNOWN_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:tskey-[a-z]+-\w{8,}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
    r"|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AKIA[A-Z0-9]{16}|AGE-SECRET-KEY-1\w{20,}"
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}|sk-[\w-]{20,})"
)
_USER_INFO = re.compile(r"[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)
_SECRET_QUERY = re.compile(r"[?&][\w-]*(?:token|secret|password|key)=[^&\s]", re.IGNORECASE)
_ASSIGNMENT = re.compile(r"^\s*(?:-\s+|export\s+)?[\"']?([A-Za-z][\w.-]*)[\"']?\s*[:=]\s*(\S.*)$")
_KUBERNETES_SECRET = re.compile(r"^\s*[\"']?kind[\"']?\s*:\s*[\"']?Secret\b", re.MULTILINE)
#: Mappings whose `key` is a private key in every notation.
_KEY_PAIRS = ("ca", "aggregatorCA", "serviceAccount", "clientIdentity")
#: `auth` of a registry is `user:password` in base64.
_AUTH = "auth"
_UNSET = ("", "null", "~", "''", '""')


def secret_in(place: Place, value: str) -> str | None:
    """What kind of secret the text at a place is, such as `a private key`; None for another
    text."""
    if not value:
        return None
    name = place[-1] if place and isinstance(place[-1], str) else ""
    parent = place[-2] if len(place) > 1 else ""
    if _holds_private_key(value) or (name == "key" and parent in _KEY_PAIRS):
        return "a private key"
    if name == _AUTH or is_secret_name(name):
        return f"a secret ({name})" if name.isidentifier() else "a secret"
    if _BOOTSTRAP_TOKEN.fullmatch(value) or _KNOWN_TOKEN.search(value):
        return "a token"
    if _USER_INFO.search(value) or _SECRET_QUERY.search(value):
        return "a URL with a password or a token"
    return _in_lines(value)


def is_secret_name(name: str) -> bool:
    """Whether a field or an environment variable of this name holds a secret."""
    # camelCase, snake_case and kebab-case alike: a word begins at a capital or after punctuation.
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    words = spaced.replace("_", "-")
    joined = re.sub(r"-(?=key|token|secret)", "", words)
    return any(_SECRET_NAME.fullmatch(form) for form in (words, joined))


def _holds_private_key(value: str) -> bool:
    if _PRIVATE_KEY.search(value):
        return True
    if not _BASE64.fullmatch(value):
        return False
    try:
        decoded = base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return _PRIVATE_KEY.search(decoded.decode("latin-1")) is not None


def _in_lines(value: str) -> str | None:
    """A secret in text that holds other files: manifests, environment variables, settings."""
    if _KUBERNETES_SECRET.search(value):
        return "a Kubernetes Secret"
    for line in value.splitlines():
        found = _ASSIGNMENT.match(line)
        if found and is_secret_name(found[1]) and found[2].strip() not in _UNSET:
            return "a secret"
    return None
