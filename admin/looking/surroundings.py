"""What a Parley stands on beside its databases: the store, Redis, the disk, its last backup."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from admin.backup.last import noted
from admin.backup.recordings import ask_store
from admin.errors import AdminError
from admin.installation import Installation
from admin.looking.finding import Figures, Finding, in_bytes, lasting
from services.common.errors import ParleyError

_STORE = "store of recordings"

# Below it the next recording, or the next backup, may not fit.
_LITTLE_SPACE = 1 << 30


def surroundings(installation: Installation) -> Iterator[Finding]:
    """Yield what is found of each; of Redis where the settings name one."""
    yield _store(installation)
    if installation.user.redis_url is not None:
        yield _redis(installation.user.redis_url.get_secret_value())
    yield _disk(installation)
    yield _backup(installation)


def _store(installation: Installation) -> Finding:
    settings = installation.media
    where = settings.store_url or str(settings.media_dir / "objects")
    spooled = sum(each.stat().st_size for each in _files(settings.spool_dir))
    figures: Figures = {"store": where, "spool_bytes": spooled}
    if not settings.store_url and not (settings.media_dir / "objects").is_dir():
        # Opening a folder makes it.
        return Finding(_STORE, None, f"{where}: nothing yet", figures=figures)

    try:
        ask_store(settings)
    except (AdminError, ParleyError) as error:
        advice = "Recordings wait on the disk until it answers."
        return Finding(_STORE, False, f"{where}: {error}", advice, figures)
    waits = f"; {in_bytes(spooled)} on their way there" if spooled else ""
    return Finding(_STORE, True, f"{where} answers{waits}", figures=figures)


def _files(folder: Path) -> Iterator[Path]:
    return (each for each in folder.rglob("*") if each.is_file())


def _redis(url: str) -> Finding:
    # Only where there is one: the package is no part of every installation.
    from services.common.redis.connection import answered, connected  # noqa: PLC0415
    from services.common.redis.streams import dead_letters_of, stream_of  # noqa: PLC0415

    async def ask() -> tuple[int, int]:
        async with connected(url) as redis:
            lengths = (
                await answered(redis.xlen(each))
                for each in (stream_of("history"), dead_letters_of("history"))
            )
            waiting, dead = [length async for length in lengths]
            return waiting, dead

    try:
        waiting, dead = asyncio.run(ask())
    except ParleyError:
        return Finding("Redis", False, "does not answer", "Parley goes without; see operations.md.")
    figures: Figures = {"waiting": waiting, "refused": dead}
    found = f"answers; {waiting:,} events on their way"
    if dead:
        advice = "`parley admin dead-letters list` says why."
        return Finding("Redis", False, f"{found}; {dead:,} refused", advice, figures)
    return Finding("Redis", True, found, figures=figures)


def _disk(installation: Installation) -> Finding:
    root = installation.folder.root
    there = next(each for each in (root, *root.parents) if each.exists())
    free = shutil.disk_usage(there).free
    figures: Figures = {"free_bytes": free}
    found = f"{in_bytes(free)} free at {there}"
    if free < _LITTLE_SPACE:
        return Finding("disk", False, found, "Recording stops when it is full.", figures)
    return Finding("disk", True, found, figures=figures)


def _backup(installation: Installation) -> Finding:
    last = noted(installation.folder.root)
    if last is None:
        return Finding("backup", None, "none yet", "`parley admin backup PLACE` makes one.")
    age = (datetime.now(UTC) - last.when).total_seconds()
    figures: Figures = {"age_seconds": round(age), "place": last.place, "bytes": last.size}
    found = f"{lasting(age)} ago, to {last.place}, {in_bytes(last.size)}"
    return Finding("backup", None, found, figures=figures)
