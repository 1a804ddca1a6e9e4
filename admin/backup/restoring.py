"""Putting a backup back: judged whole before anything is touched, and put in place at the end.

Everything is prepared beside its place: databases brought to this Parley's revision, keys,
recordings. A mark in the data folder stands while things are put in place, and keeps Parley from
starting on half of them; the same command again goes on from there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from admin.backup import erasures, sources, trails
from admin.backup.databases import bring_copy_forward, rows_in
from admin.backup.manifest import (
    AUDIT,
    CERTIFICATES,
    DATABASES,
    KEYS,
    ORIGINALS,
    SPOOLS,
    Manifest,
)
from admin.backup.placing import (
    Aside,
    copy_entry,
    local_originals,
    put_in_place,
    put_recordings,
)
from admin.backup.room import require_room
from admin.backup.sealing import sealed_by
from admin.backup.sources import Source
from admin.errors import AdminError, DamagedBackupError, UnfitBackupError
from admin.installation import Installation, Keeper
from admin.progress import Stages
from admin.schema import Standing, knows_revision, look
from launcher.errors import AlreadyRunningError, LauncherError
from launcher.folder import holder_of, locked
from services.media.adapters.sealing_keys import SealingKeys


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a restore.

    replace: what is there may go. sign_out: every sign-in of the backup ends.
    trails: folders with services' trails, which tell of what was deleted since the backup.
    keys: that open a sealed backup.
    """

    replace: bool = False
    sign_out: bool = False
    trails: tuple[Path, ...] = ()
    keys: SealingKeys | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    erased: how many users of the backup, by what is known of accounts deleted since, are erased
        everywhere at the next start.
    deleted: how many single conversations and recordings of the backup are deleted again.
    set_aside: where what was in the data folder is now; None where nothing was.
    """

    manifest: Manifest
    erased: int
    deleted: int
    set_aside: Path | None


def check(place: Path, stages: Stages, keys: SealingKeys | None = None) -> Manifest:
    """Read a whole backup and return what is in it.

    keys: with them, of a sealed one it is also known that nobody else made it.

    Raises:
        NothingThereError, DamagedBackupError, UnfitBackupError: see `sources`.
    """
    with sources.opened(place, keys) as source, stages.stage("Checking", source.manifest.size):
        sources.verify(source, stages.advance)
        return source.manifest


def restore(installation: Installation, place: Path, stages: Stages, wanted: Wanted) -> Restored:
    """Put the backup at `place` where the settings of `installation` say that its data is.

    The kinds of database and store need not be those that the backup was made of.

    Raises:
        DamagedBackupError: the backup is not whole; nothing was changed.
        UnfitBackupError: it is a newer Parley's, or there is data already; nothing was changed.
        AdminError: Parley runs, or something does not answer.
    """
    with sources.opened(place, wanted.keys) as source, _held(installation):
        manifest = source.manifest
        if manifest.seal and source.seal is None:
            raise UnfitBackupError(
                f"The backup is sealed by the key {sealed_by(manifest.seal)}.",
                "Name the file that it is in with --key-file.",
            )
        _check_known(installation, manifest)
        # A restore that was broken off left what only another may replace.
        replace = wanted.replace or installation.folder.restoring.exists()
        _check_target(installation, manifest, replace=replace)
        _check_room(installation, manifest)
        with stages.stage("Checking", manifest.size):
            sources.verify(source, stages.advance)
        with _staging(installation) as staging:
            copies = _prepare_databases(installation, source, staging, stages)
            _prepare_files(source, staging, manifest)
            erased, deleted = _erase(installation, manifest, copies, staging, wanted)
            installation.folder.restoring.touch(mode=0o600)
            aside = Aside(installation.folder.root)
            if manifest.recordings:
                put_recordings(installation, source, staging, stages, aside)
            put_in_place(
                installation,
                staging,
                copies,
                stages,
                aside,
                replace=replace,
                secrets=manifest.secrets,
            )
            installation.folder.restoring.unlink()
    return Restored(manifest, erased, deleted, aside.folder if aside.used else None)


@contextmanager
def _held(installation: Installation) -> Iterator[None]:
    """Hold the data folder: no Parley runs on it, and none starts before this ends."""
    folder = installation.folder
    try:
        folder.create()
        with locked(folder, "nowhere: it is being restored"):
            yield
    except AlreadyRunningError as error:
        holder = holder_of(folder)
        where = f" at {holder.address} (process {holder.pid})" if holder else ""
        raise UnfitBackupError(
            f"Parley runs{where} on the data folder {folder.root}.",
            "Stop it first: `python -m launcher stop`.",
        ) from error
    except LauncherError as error:
        raise UnfitBackupError(str(error)) from error


def _check_known(installation: Installation, manifest: Manifest) -> None:
    keepers = {each.name: each for each in installation.keepers}
    newer = [
        f"{name} at {tables.revision}"
        for name, tables in manifest.services.items()
        if name not in keepers or not knows_revision(keepers[name], tables.revision)
    ]
    if newer:
        raise UnfitBackupError(
            f"The backup is a newer Parley's ({manifest.parley}): this one does not know the "
            f"tables of {', '.join(newer)}.",
            "Restore it with that version, or a later one.",
        )


def _check_target(installation: Installation, manifest: Manifest, *, replace: bool) -> None:
    """Refuse a database that does not answer or is newer, and where something would be lost."""
    found = []
    for keeper in installation.keepers:
        if not keeper.is_sqlite and look(keeper).standing is Standing.AHEAD:
            raise UnfitBackupError(
                f"The tables of the {keeper.name} service are a newer Parley's.",
                "Name an empty database, or restore with that version.",
            )
        if not replace:
            found += _data_of(keeper)
    if replace:
        return
    objects = local_originals(installation)
    if manifest.recordings and objects is not None and any(objects.glob("recordings/*")):
        found.append(f"recordings in {objects}")
    if found:
        raise UnfitBackupError(
            f"There is data already: {', '.join(found)}.",
            "`--replace` puts the backup in its place; or name an empty folder with "
            "PARLEY_DATA_DIR, and an empty database.",
        )


def _check_room(installation: Installation, manifest: Manifest) -> None:
    """Refuse what does not fit: everything is there once before anything is put in its place."""
    size = manifest.size
    if local_originals(installation) is None:
        size -= sum(each.size for each in manifest.below(ORIGINALS))
    require_room(installation.folder.root, size, "The restore")


def _data_of(keeper: Keeper) -> list[str]:
    """Return what a service has, in words; nothing where that is nothing."""
    try:
        rows = rows_in(keeper)
    except AdminError:
        if not keeper.is_sqlite:
            raise
        # Damage is a reason to restore, and somebody may still want to look at it.
        return [f"something in {keeper.file} that cannot be read"]
    return [f"{rows:,} rows of the {keeper.name} service ({keeper.kind})"] if rows else []


@contextmanager
def _staging(installation: Installation) -> Iterator[Path]:
    """Yield an empty folder on the disk of the data folder: renamed, files are in place at once."""
    staging = installation.folder.root / "restore.partial"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _prepare_databases(
    installation: Installation, source: Source, staging: Path, stages: Stages
) -> dict[str, Path]:
    """Copy the databases out of the backup and bring them to this Parley's revision."""
    copies = {}
    entries = {each.name: each for each in source.manifest.below(DATABASES)}
    with stages.stage("Databases", sum(each.size for each in entries.values())):
        for keeper in installation.keepers:
            if keeper.name not in source.manifest.services:
                # It came with a later version: its tables are made at the next start.
                continue
            name = f"{DATABASES}/{keeper.name}.sqlite3"
            if name not in entries:
                raise DamagedBackupError(f"The backup has no {name}.")
            file = staging / f"{keeper.name}.sqlite3"
            copy_entry(source, entries[name], file)
            tables = source.manifest.services[keeper.name]
            bring_copy_forward(keeper, file, indexed=tables.indexed)
            stages.advance(entries[name].size)
            copies[keeper.name] = file
    return copies


def _erase(
    installation: Installation,
    manifest: Manifest,
    copies: Mapping[str, Path],
    staging: Path,
    wanted: Wanted,
) -> tuple[int, int]:
    """Take out of the copies what learners deleted since.

    Returns how many users the restored Parley erases, and how many single conversations and
    recordings are gone.
    """
    here = [each.settings.audit_dir for each in installation.keepers]
    # The backup's own goes up to its end, and tells of what was deleted while it was taken.
    deleted = trails.deleted_by([*here, staging / AUDIT, *wanted.trails])
    if wanted.sign_out:
        erasures.sign_everybody_out(copies["user"])
    user_ids = erasures.to_erase(copies, deleted.accounts | set(manifest.deleted_since))
    now = datetime.now(UTC)
    erasures.have_erased(copies["user"], user_ids, now)
    return len(user_ids), erasures.delete_again(copies, deleted, now)


def _prepare_files(source: Source, staging: Path, manifest: Manifest) -> None:
    for area in (KEYS, AUDIT, CERTIFICATES, SPOOLS):
        for entry in manifest.below(area):
            copy_entry(source, entry, staging / entry.name)
