"""Whether there is room for what is about to be written: told before it is begun."""

from __future__ import annotations

import shutil
from pathlib import Path

from admin.errors import AdminError
from admin.looking.finding import in_bytes


def require_room(folder: Path, size: int, what: str) -> None:
    """See to it that `size` bytes fit on the disk of `folder`, which need not exist yet.

    An estimate may be wrong, and others write as well: who begins must still expect a full disk.

    Raises:
        AdminError: they do not.
    """
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise AdminError(
            f"{what} takes {in_bytes(size)} at {there}, where {in_bytes(free)} are free."
        )
