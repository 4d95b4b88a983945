"""Homes of gpg that hold the keys of one file, and nothing of the user's or the machine's."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from guildnet.errors import GitError
from guildnet.state_folder import make_private

MAX_KEYRING_BYTES = 4 * 1024 * 1024
_IMPORT_SECONDS = 60
_EXPORT = "write public keys into it: `gpg --export KEY... > FILE`"
#: The file decides who is trusted. Nothing is fetched, asked or started.
_CONFIGURATION = """\
batch
trust-model always
no-auto-check-trustdb
no-auto-key-locate
no-auto-key-retrieve
disable-dirmngr
no-autostart
"""
# gpg's doc/DETAILS: IMPORT_RES count no_user_id imported 0 unchanged n_uids n_subk n_sigs n_revoc
# sec_read ...
_IMPORTED = re.compile(r"^\[GNUPG:\] IMPORT_RES \d+ \d+ (\d+)(?: \d+){6} (\d+)", re.M)


class KeyringUnusable(GitError):
    """gpg or the file of public keys is missing or invalid: no signature can be verified."""


def gpg_program(keyring: Path) -> str:
    """The path of gpg. Raises KeyringUnusable where it is not installed."""
    found = shutil.which("gpg")
    if found is None:
        raise KeyringUnusable(
            "gpg is not installed, so OpenPGP signatures cannot be verified",
            place=str(keyring),
            cure="install it (Debian: the package gpg), or use SSH signatures",
        )
    return found


def gpg_home(keyring: Path, state_dir: Path) -> Path:
    """A GNUPGHOME with the public keys of the file `keyring`, binary or armored.

    It is made once for each content of the file, in `state_dir`: a replaced file gives another
    home. Raises KeyringUnusable for a missing gpg and for a file without usable public keys.
    """
    program, content = gpg_program(keyring), _read(keyring)
    home = state_dir / "openpgp" / hashlib.sha256(content).hexdigest()
    if home.is_dir():
        return home
    try:
        make_private(home.parent)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=home.parent) as draft:
            made = Path(draft) / "home"
            made.mkdir(mode=0o700)
            (made / "gpg.conf").write_text(_CONFIGURATION)
            _import(program, content, made, keyring)
            if not home.is_dir():  # another thread may have made the same one
                os.rename(made, home)
    except OSError as error:
        if home.is_dir():
            return home
        raise KeyringUnusable(
            f"no home for gpg can be made: {error.strerror}",
            place=str(home.parent),
            cure="free space on the state directory's disk, or make it writable",
        ) from error
    return home


def _read(keyring: Path) -> bytes:
    try:
        with keyring.open("rb") as file:
            content = file.read(MAX_KEYRING_BYTES + 1)
    except OSError as error:
        raise KeyringUnusable(
            f"the OpenPGP keyring cannot be read: {error.strerror}",
            place=str(keyring),
            cure=_EXPORT,
        ) from error
    if len(content) > MAX_KEYRING_BYTES:
        raise KeyringUnusable(
            f"the OpenPGP keyring is larger than {MAX_KEYRING_BYTES} bytes",
            place=str(keyring),
            cure="export only the keys of those who may sign, with --export-options export-minimal",
        )
    return content


def _import(program: str, content: bytes, home: Path, keyring: Path) -> None:
    try:
        done = subprocess.run(
            [program, "--status-fd=1", "--import"],
            input=content,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "GNUPGHOME": str(home)},
            cwd=home,
            capture_output=True,
            check=False,
            timeout=_IMPORT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise KeyringUnusable(
            f"gpg did not read the OpenPGP keyring within {_IMPORT_SECONDS} s", place=str(keyring)
        ) from error
    found = _IMPORTED.search(done.stdout.decode("utf-8", "replace"))
    imported, secret = (int(found[1]), int(found[2])) if found else (0, 0)
    if secret:
        raise KeyringUnusable(
            "the OpenPGP keyring holds a secret key, which the reconciler must not have",
            place=str(keyring),
            cure=_EXPORT,
        )
    if not imported:
        raise KeyringUnusable(
            "the OpenPGP keyring holds no usable public key", place=str(keyring), cure=_EXPORT
        )
