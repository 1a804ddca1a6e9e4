"""Putting what was prepared where the services look for it; what was there is set aside."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from admin.backup.databases import put_in, settle
from admin.backup.manifest import AUDIT, CERTIFICATES, KEYS, ORIGINALS, SPOOLS, Entry
from admin.backup.recordings import store_of
from admin.backup.shelves import read_through
from admin.backup.sources import Source
from admin.errors import AdminError, DamagedBackupError
from admin.installation import Installation
from admin.progress import Stages
from services.common.durable import sync_path
from services.common.errors import ParleyError

# Uploads to a store elsewhere wait for its answers, not for this machine.
_UPLOADS = 4


class Aside:
    """Where what was in the data folder is kept, for whoever finds that it was the right one."""

    def __init__(self, root: Path) -> None:
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self.folder = root / f"before-restore-{at}"
        self.used = False

    def take(self, path: Path) -> None:
        """Move a file or folder there, where there is one with something in it."""
        if not path.exists():
            return
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        shutil.move(path, self.folder / path.name)
        self.used = True


def local_originals(installation: Installation) -> Path | None:
    """Return the folder of the originals; None where they are in a store, or elsewhere."""
    return None if installation.media.store_url else installation.media.media_dir / "objects"


def copy_entry(source: Source, entry: Entry, to: Path) -> None:
    """Copy a file out of a backup, unsealed, with its time of change; compare it once more.

    Raises:
        DamagedBackupError: it is not what the manifest says: it was changed since it was checked.
    """
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with source.open(entry.name) as file, to.open("wb") as copy:
        if source.seal is None:
            size, digest = read_through(file, _nobody, copy)
        else:
            unsealed = source.seal.unsealed(entry.name, entry.size, copy)
            size, digest = read_through(file, _nobody, unsealed)
            unsealed.finish()
        copy.flush()
        os.fsync(copy.fileno())
    to.chmod(0o600)
    if entry.changed_at:
        os.utime(to, (entry.changed_at, entry.changed_at))
    if (size, digest) != (entry.size, entry.sha256):
        raise DamagedBackupError(f"{entry.name} was changed while it was restored.")


def put_recordings(
    installation: Installation, source: Source, staging: Path, stages: Stages, aside: Aside
) -> None:
    """Put the recordings into their store, and those that were being made where they are made."""
    local = local_originals(installation)
    if local is not None:
        aside.take(local)
    with stages.stage("Recordings", sum(each.size for each in source.manifest.below(ORIGINALS))):
        asyncio.run(_put_originals(installation, source, staging, stages))
    _put_folder(staging / SPOOLS, installation.media.spool_dir, aside)
    # Transcodes of what may be other recordings by now; they are made again.
    shutil.rmtree(installation.media.cache_dir, ignore_errors=True)


async def _put_originals(
    installation: Installation, source: Source, staging: Path, stages: Stages
) -> None:
    """Put every original into the store, those of some recordings at once.

    What the store has of a recording goes first: its key there may be damaged, or wrapped by one
    that the host has lost, and would be used for the new ones.

    Raises:
        AdminError: the store does not answer; what is there of the backup stays.
        DamagedBackupError: see `copy_entry`.
    """
    objects = store_of(installation.media)
    by_recording: dict[str, list[Entry]] = {}
    for entry in source.manifest.below(ORIGINALS):
        by_recording.setdefault(_prefix(entry), []).append(entry)
    waiting = iter(by_recording.items())
    failed: list[Exception] = []

    async def put_one(prefix: str, entries: list[Entry], file: Path) -> None:
        try:
            for number, entry in enumerate(entries):
                # Reading is one after the other; it is the store that is waited for.
                copy_entry(source, entry, file)
                if number == 0:
                    await objects.delete_below(prefix)
                await objects.put(entry.name.removeprefix(f"{ORIGINALS}/"), file)
                stages.advance(entry.size)
        except ParleyError as error:
            raise AdminError(
                f"The recording {_recording_id(prefix)} cannot be put into its store: {error}",
                "See to the store, and give the same command again: it begins anew.",
            ) from error

    async def put_some(worker: int) -> None:
        file = staging / f"original-{worker}"
        try:
            for prefix, entries in waiting:
                await put_one(prefix, entries, file)
                if failed:
                    return
        except (AdminError, OSError) as error:
            # Raised below: out of the group it would come wrapped.
            failed.append(error)

    async with asyncio.TaskGroup() as group:
        for worker in range(_UPLOADS):
            group.create_task(put_some(worker))
    for error in failed:
        raise error


def _prefix(entry: Entry) -> str:
    """Return what the keys of all originals of an entry's recording begin with."""
    return f"{entry.name.removeprefix(f'{ORIGINALS}/').rpartition('/')[0]}/"


def _recording_id(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("/")[2]


def put_in_place(
    installation: Installation,
    staging: Path,
    copies: Mapping[str, Path],
    stages: Stages,
    aside: Aside,
    *,
    replace: bool,
    secrets: bool,
) -> None:
    """Put what was prepared where the services look for it.

    secrets: whether the backup has keys; those that are there stay where it has none.
    """
    if secrets:
        _put_folder(staging / KEYS, installation.user.keys_dir, aside)
        _put_folder(staging / CERTIFICATES, installation.folder.tls, aside)
    for keeper in installation.keepers:
        # Trails of other days stay: they tell what happened since.
        _merge(staging / AUDIT / keeper.name, keeper.settings.audit_dir)
    with stages.stage("Putting in place", sum(each.stat().st_size for each in copies.values())):
        # Accounts last: until then nobody can sign in to half of it.
        for keeper in reversed(installation.keepers):
            copy = copies.get(keeper.name)
            if copy is None:
                continue
            if keeper.file is None:
                put_in(keeper, copy, stages.advance, replace=replace)
            else:
                settle(copy)
                _put_file(keeper.file, copy, aside)


def _put_file(file: Path, copy: Path, aside: Aside) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A write-ahead log of the old file would be taken for the new one's.
    for name in (f"{file.name}-wal", f"{file.name}-shm", file.name):
        aside.take(file.with_name(name))
    shutil.move(copy, file)
    sync_path(file.parent)


def _put_folder(prepared: Path, folder: Path, aside: Aside) -> None:
    aside.take(folder)
    if prepared.is_dir():
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(prepared, folder)


def _merge(prepared: Path, folder: Path) -> None:
    """Put in files that are not there, and those that are longer than what is there."""
    for path in sorted(prepared.glob("*")) if prepared.is_dir() else []:
        there = folder / path.name
        if not there.exists() or there.stat().st_size < path.stat().st_size:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(path, there)


def _nobody(_size: int) -> None:
    """Tell nobody."""
