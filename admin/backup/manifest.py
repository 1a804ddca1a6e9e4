"""What a backup holds: every file with its size and SHA-256, and what the data was made with.

The manifest is the last thing that is written, and the first that is read. It carries a digest of
itself, so that damage to it is seen as well as damage to what it lists.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from admin.errors import DamagedBackupError, UnfitBackupError

FORMAT = 1
"""Grows when an older Parley could not restore what a newer one writes."""

NAME = "manifest.json"
"""The manifest's own file."""

DATABASES, KEYS, AUDIT, CERTIFICATES = "db", "keys", "audit", "tls"
ORIGINALS, SPOOLS = "media/objects", "media/spool"
_AREAS = (DATABASES, KEYS, AUDIT, CERTIFICATES, ORIGINALS, SPOOLS)

_DIGEST = re.compile("[0-9a-f]{64}")
_KIND = "parley-backup"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the backup.

    name: relative, with slashes. changed_at: Unix time; of a retired key it says how long ago.
    """

    name: str
    size: int
    sha256: str
    changed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Tables:
    """The database of one service: a SQLite file, whatever kind it was copied from.

    indexed: whether the file holds the search index as well; else it is made anew.
    rows: of each table.
    """

    revision: str
    kind: str
    indexed: bool
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of it.

    begun_at, ended_at: ISO 8601. What was stored before the first is in the backup; what was
        stored after the second is not; of what lies between some may be.
    recordings: whether the recordings are in it.
    missing: recordings whose files the store did not have; they were lost before.
    damaged: recordings that Parley sealed in the store, and nobody can open any more.
    deleted_since: accounts that were deleted while the backup was taken.
    secrets: whether `keys` and `tls` are in it; they are in sealed ones alone.
    seal: the key that opens its files, wrapped (`sealing`); empty where they are not sealed. Sizes
        and digests are those of the sealed files then.
    """

    parley: str
    begun_at: str
    ended_at: str
    services: Mapping[str, Tables]
    files: Sequence[Entry]
    recordings: bool = True
    missing: Sequence[str] = field(default_factory=list)
    damaged: Sequence[str] = field(default_factory=list)
    deleted_since: Sequence[str] = field(default_factory=list)
    secrets: bool = False
    seal: str = ""

    @property
    def size(self) -> int:
        """How many bytes all files take."""
        return sum(each.size for each in self.files)

    def below(self, area: str) -> list[Entry]:
        """Return the files of one area, such as `keys`."""
        return [each for each in self.files if each.name.startswith(f"{area}/")]

    def write(self) -> bytes:
        """Return it as it is stored."""
        content = {"kind": _KIND, "format": FORMAT, **asdict(self)}
        return json.dumps({**content, "sha256": _digest(content)}, indent=1).encode() + b"\n"

    @property
    def fingerprint(self) -> str:
        """Return the digest that stands for all of the backup: whoever knows it can compare."""
        return _digest({"kind": _KIND, "format": FORMAT, **asdict(self)})


def digest_without_seal(data: bytes) -> str:
    """Return the digest of all that a manifest says but for its seal, which is made of it.

    Of what stands there, known here or not: a later version may say more.
    """
    content = json.loads(data)
    del content["sha256"]
    return _digest({**content, "seal": ""})


def read(data: bytes) -> Manifest:
    """Return the manifest that `Manifest.write` wrote.

    Raises:
        DamagedBackupError: it is not what was written.
        UnfitBackupError: a newer Parley wrote it.
    """
    try:
        content = json.loads(data)
        if content["kind"] != _KIND:
            raise DamagedBackupError("This is no backup of Parley's.")
        stored = content.pop("sha256")
        written = int(content["format"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedBackupError("The manifest of the backup cannot be read.") from error
    if stored != _digest(content):
        raise DamagedBackupError("The manifest of the backup was changed since it was written.")
    if written > FORMAT:
        raise UnfitBackupError(
            f"A newer Parley wrote this backup (form {written}; this one knows {FORMAT}).",
            "Restore it with that version, or a later one.",
        )
    try:
        manifest = _made(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedBackupError("The manifest of the backup says what none can say.") from error
    for entry in manifest.files:
        _check(entry)
    if len({each.name for each in manifest.files}) != len(manifest.files):
        raise DamagedBackupError("The manifest of the backup names a file twice.")
    return manifest


def _made(content: dict[str, Any]) -> Manifest:
    known = {each.name for each in fields(Manifest)}
    values = {name: value for name, value in content.items() if name in known}
    values["services"] = {name: Tables(**each) for name, each in content["services"].items()}
    values["files"] = [Entry(**each) for each in content["files"]]
    return Manifest(**values)


def _check(entry: Entry) -> None:
    """Refuse what would be written to, or read from, anywhere but the backup's own areas."""
    path = PurePosixPath(entry.name)
    inside = any(entry.name.startswith(f"{area}/") for area in _AREAS)
    plain = str(path) == entry.name and ".." not in path.parts and "\0" not in entry.name
    whole = entry.size >= 0 and _DIGEST.fullmatch(entry.sha256)
    if not (inside and plain and whole):
        raise DamagedBackupError(f"The manifest of the backup names {entry.name!r}.")


def _digest(content: Mapping[str, Any]) -> str:
    # As JSON reads it again: tuples are lists there.
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
