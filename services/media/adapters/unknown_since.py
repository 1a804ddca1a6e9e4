"""Since when there are objects in the store that no table knows, in a file of the data folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)


class UnknownSince:
    """`Unknown` in a JSON file. Both methods block.

    What cannot be kept, or read again, was not seen: what is unknown is left alone for longer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Mapping[str, datetime]:
        """Return when each was first seen, by its recording's id."""
        try:
            kept = json.loads(self._path.read_bytes())
            found = {each: datetime.fromisoformat(at) for each, at in kept.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("unknown_since_unreadable", problem=type(error).__name__)
            return {}
        # Of a time without a zone nobody knows when it was.
        return {each: at for each, at in found.items() if at.tzinfo is not None}

    def save(self, seen: Mapping[str, datetime]) -> None:
        """Keep when each was first seen, in place of what was kept."""
        fresh = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(json.dumps({each: at.isoformat() for each, at in seen.items()}))
            fresh.replace(self._path)
        except OSError as error:
            _log.warning("unknown_since_not_kept", problem=type(error).__name__)
