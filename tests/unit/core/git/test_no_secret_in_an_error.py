"""I8: whatever a remote repeats, on whichever way a failure takes, no known value is shown."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from guildnet.git.credentials import Credentials
from guildnet.git.process import CommandFailed
from guildnet.git.remote_errors import push_error, remote_error

# What git, curl, ssh and hooks write, with a place for what the remote adds to it.
LINES = (
    "fatal: unable to access 'https://u:{0}@h/x/': The requested URL returned error: 403",
    "fatal: unable to access 'https://h/x/': Failed to connect to {0} port 443",
    "fatal: Authentication failed for 'https://{0}@h/x/'",
    "fatal: couldn't find remote ref refs/heads/{0}",
    "fatal: remote error: upload-pack: not our ref {0}",
    "fatal: remote error: {0}",
    "fatal: loose object {0} (stored in x) is corrupt",
    "fatal: write error {0}: No space left on device",
    "error: object aaaaaaaaaaaa: missingEmail: {0}",
    "remote: Authorization: Basic {0}",
    "remote: GitLab: {0}",
    "ERROR: {0}",
    "git@{0}: Permission denied (publickey).",
    'Load key "{0}": error in libcrypto',
    "{0}",
    "\x1b[31m{0}\ud800",
)
REFUSED = "!\ta:refs/heads/{0}\t[remote rejected] ({0})"
SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=6)


@given(st.sampled_from(LINES), st.sampled_from(["", REFUSED]), SECRETS, st.text(max_size=10))
def test_no_form_of_the_password_is_in_any_error(
    line: str, refused: str, middle: str, user: str
) -> None:
    secret = f"Zq7{middle}7qZ"
    given_ = Credentials(username=user, password=secret)
    basic = base64.b64encode(f"{user}:{secret}".encode("utf-8", "replace")).decode()
    forms = (secret, quote(secret, safe=""), basic, json.dumps(secret)[1:-1])
    redact = given_.redactor()
    for form in forms:
        failed = CommandFailed(
            "fetch",
            status=128,
            stdout=redact.message(refused.replace("{0}", form)),
            stderr=redact.message(line.replace("{0}", form)),
            place="https://h/x",
            git_dir=Path("/mirror"),
        )
        for error in (failed, remote_error(failed, "p"), push_error(failed, "p")):
            text = f"{error} {vars(error)}"
            assert form not in text
            assert "Zq7" not in text
            text.encode()
    assert secret not in repr(given_)
