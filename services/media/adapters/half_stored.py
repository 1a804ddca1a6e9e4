"""What a kill leaves behind in a local store: objects that were being written.

obstore writes an object beside its place, as `name#1`, and renames it. What a kill left under such
a name is in no list that the store gives, so neither housekeeping nor the deletion of a recording
would ever find it, and it is somebody's voice.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_HALF: Final = re.compile(r".+#[0-9]+")


def clear_half_stored(store_url: str, before: datetime) -> int:
    """Remove what was last written before so; return how many files. Blocks.

    Stores that are no local folder see to it themselves.
    """
    parts = urlsplit(store_url)
    if parts.scheme != "file":
        return 0
    removed = 0
    for within, _, names in os.walk(unquote(parts.path)):
        for name in filter(_HALF.fullmatch, names):
            # What goes meanwhile is gone.
            with suppress(FileNotFoundError):
                path = Path(within, name)
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
                    removed += 1
    return removed
