"""A backup: a folder with `backup.tar.age`, and a manifest of what is in it.

The manifest is readable without the age identity, so that a machine which must not be able to
open backups can check them. Its digests are scrypt's, so that no secret can be guessed from them.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from guildnet.age_files import decrypted, encrypted
from guildnet.digest import readable_json, sha256_hex
from guildnet.errors import ConfigurationError
from guildnet.state_folder import private_folder, write_private
from guildnet_cli.backup.items import Item

ARCHIVE, MANIFEST = "backup.tar.age", "manifest.json"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
State = Literal["kept", "not kept", "changed", "unreadable", "by hand"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one item is kept, and what to do if not."""

    item: str
    state: State
    what_to_do: str = ""

    @property
    def good(self) -> bool:
        return self.state in ("kept", "by hand")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The digest of each item in the archive, and of the archive itself."""

    salt: str = ""
    archive: str = ""
    digests: Mapping[str, str] | None = None

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises ConfigurationError for a folder that holds no whole backup."""
        try:
            with (folder / MANIFEST).open("rb") as file:
                found = json.loads(file.read(MAX_MANIFEST_BYTES))
            made = cls(str(found["salt"]), str(found["archive"]), dict(found["items"]))
            bytes.fromhex(made.salt)
            whole = sha256_hex((folder / ARCHIVE).read_bytes()) == made.archive
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _no_backup(folder, f"no backup here: {error}") from error
        if not whole:
            raise _no_backup(folder, f"{ARCHIVE} is damaged: it differs from its manifest")
        return made

    def files(self) -> list[Path]:
        """The files outside the state folder that the backup holds."""
        return [Path(name.removeprefix("files")) for name in self.digests or () if _is_file(name)]

    def state_of(self, item: Item) -> State:
        if item.instead:
            return "by hand"
        if item.content is None:
            return "unreadable"
        kept = (self.digests or {}).get(item.name)
        if kept is None:
            return "not kept"
        return "kept" if kept == _digest(item.content, self.salt) else "changed"


def _is_file(name: str) -> bool:
    return name.startswith("files/")


def _no_backup(folder: Path, message: str) -> ConfigurationError:
    cure = "Make one: guildnet backup DIR --recipient age1..."
    return ConfigurationError(message, place=str(folder), cure=cure)


def write(folder: Path, items: Sequence[Item], recipients: Sequence[str]) -> None:
    """Write a backup of the items that can be read into a new or empty folder.

    Raises ConfigurationError; the manifest is written last, so that half a backup is none.
    """
    kept = {item.name: item.content for item in items if item.content is not None}
    salt = secrets.token_hex(16)
    try:
        if folder.exists() and any(folder.iterdir()):
            cure = "Give each backup a folder of its own, for example named by its date."
            raise ConfigurationError("not empty", place=str(folder), cure=cure)
        content = encrypted(_packed(kept), recipients)
        private_folder(folder)
        write_private(folder / ARCHIVE, content)
        digests = {name: _digest(plain, salt) for name, plain in kept.items()}
        manifest = {"salt": salt, "archive": sha256_hex(content), "items": digests}
        write_private(folder / MANIFEST, readable_json(manifest))
    except OSError as error:
        raise ConfigurationError(f"cannot write: {error.strerror}", place=str(folder)) from error


def opened(folder: Path, target: Path, identity: Path | None) -> list[str]:
    """Decrypt a backup into a new or empty folder; returns the names of its items."""
    manifest = Manifest.read(folder)
    plain = decrypted((folder / ARCHIVE).read_bytes(), identity, str(folder / ARCHIVE))
    try:
        if target.exists() and any(target.iterdir()):
            cure = "Name a folder that does not exist yet."
            raise ConfigurationError("not empty", place=str(target), cure=cure)
        private_folder(target)
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            archive.extractall(target, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise ConfigurationError(f"cannot be extracted: {error}", place=str(target)) from error
    return sorted(manifest.digests or ())


def compared(items: Sequence[Item], manifest: Manifest) -> list[Finding]:
    return [
        Finding(item.name, state, _cure(item, state))
        for item in items
        for state in (manifest.state_of(item),)
    ]


def _cure(item: Item, state: State) -> str:
    if state == "by hand":
        return item.instead
    if state == "unreadable":
        return item.problem
    return "" if state == "kept" else "make a new backup: guildnet backup DIR --recipient age1..."


def to_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {"item": each.item, "state": each.state, "whatToDo": each.what_to_do} for each in findings
    ]


def _packed(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sorted(contents.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _digest(content: bytes, salt: str) -> str:
    return hashlib.scrypt(content, salt=bytes.fromhex(salt), n=2**12, r=8, p=1).hex()
