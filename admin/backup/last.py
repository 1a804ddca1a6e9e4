"""When the last backup was made, for whoever asks how a Parley is."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from services.common.key_files import write_atomically

_NAME = "last-backup.json"


@dataclass(frozen=True, slots=True)
class LastBackup:
    """One that was whole. Whether it is still there is not known here."""

    place: str
    begun_at: str
    size: int

    @property
    def when(self) -> datetime:
        """When it was begun: what was stored before then is in it."""
        return datetime.fromisoformat(self.begun_at)


def note(root: Path, backup: LastBackup) -> None:
    """Note in the data folder that a backup was made. One that cannot be noted was made as well."""
    with suppress(OSError):
        write_atomically(root / _NAME, json.dumps(asdict(backup)).encode())


def noted(root: Path) -> LastBackup | None:
    """Return the last backup that was noted; None where there was none."""
    try:
        backup = LastBackup(**json.loads((root / _NAME).read_bytes()))
        told = backup.when.tzinfo is not None
    except (OSError, ValueError, TypeError):
        return None
    return backup if told else None
