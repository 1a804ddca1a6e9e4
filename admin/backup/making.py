"""Taking a backup of a Parley, while it runs or not, in the order in which nothing dangles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, select

from admin.backup import last, recordings, sealing
from admin.backup.databases import copy_out, estimated_bytes, settle, url_of
from admin.backup.last import LastBackup
from admin.backup.manifest import (
    AUDIT,
    CERTIFICATES,
    DATABASES,
    KEYS,
    Entry,
    Manifest,
    Tables,
    digest_without_seal,
)
from admin.backup.room import require_room
from admin.backup.sealing import Seal
from admin.backup.shelves import SealedShelf, Shelf, new_shelf
from admin.errors import NothingThereError
from admin.installation import Installation, Keeper
from admin.progress import Stages
from admin.schema import connected, failures_of
from services.media.adapters.sealing_keys import SealingKeys
from services.user.adapters.tables import ACCOUNTS


def make(
    installation: Installation,
    place: Path,
    stages: Stages,
    *,
    with_recordings: bool = True,
    keys: SealingKeys | None = None,
) -> Manifest:
    """Back everything up to `place`, a folder or a `.tar` file; return what is in it.

    Where it fails, or is stopped, `place` does not come to be.
    keys: the first seals it. Without one, the keys that are Parley's own are left out.

    Raises:
        NothingThereError: there is nothing to back up.
        AdminError: something does not answer, or cannot be written.
    """
    _check_there_is_something(installation)
    begun = datetime.now(UTC)
    # What a sealed one is made of is never where it goes: that may be anybody's disk.
    beside = None if keys is None else installation.folder.root / "backup.partial"
    with new_shelf(place, stages.advance, beside) as (bare, complete):
        made = None if keys is None else Seal.new()
        shelf = bare if made is None else SealedShelf(bare, made)
        scratch = shelf.scratch
        size = sum(estimated_bytes(each) for each in installation.keepers)
        _require_room(size, place.parent, scratch)
        with stages.stage("Databases", size):
            tables = _copy_databases(installation, scratch, stages, with_recordings=with_recordings)
        copied = recordings.Copied()
        if with_recordings:
            media = installation.keeper("media")
            listed = _copy_of(scratch, media)
            size = recordings.estimated_bytes(listed)
            require_room(place.parent, size, "The recordings' backup")
            with stages.stage("Recordings", size):
                copied = recordings.copy_recordings(
                    media, installation.media, shelf, listed, scratch / "spools"
                )
        deleted_since = _deleted_since(installation, scratch)
        with stages.stage("Accounts and talks", sum(_sizes(scratch, installation))):
            files = [*copied.entries, *_put_databases(installation, scratch, shelf)]
            files += _put_trails(installation, shelf)
            if made is not None:
                files += _put_secrets(installation, shelf)
        manifest = Manifest(
            parley=version("parley-server"),
            begun_at=begun.isoformat(timespec="seconds"),
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
            services=tables,
            files=files,
            recordings=with_recordings,
            missing=copied.missing,
            damaged=copied.damaged,
            deleted_since=deleted_since,
            secrets=made is not None,
        )
        if made is not None and keys is not None:
            seal = sealing.wrapped(made, keys, digest_without_seal(manifest.write()))
            manifest = replace(manifest, seal=seal)
        complete(manifest)
    last.note(installation.folder.root, LastBackup(str(place), manifest.begun_at, manifest.size))
    return manifest


def _check_there_is_something(installation: Installation) -> None:
    file = installation.keeper("user").file
    if file is not None and not file.is_file():
        raise NothingThereError(
            f"There is no data in {installation.folder.root}.",
            "Is PARLEY_DATA_DIR the running Parley's?",
        )


def _require_room(size: int, place: Path, scratch: Path) -> None:
    """Refuse disks that the databases do not fit on, as copies and then as part of the backup."""
    if scratch.stat().st_dev == place.stat().st_dev:
        require_room(place, 2 * size, "The backup")
        return
    require_room(scratch, size, "What the backup is made of")
    require_room(place, size, "The backup")


def _copy_databases(
    installation: Installation, scratch: Path, stages: Stages, *, with_recordings: bool
) -> dict[str, Tables]:
    tables = {}
    for keeper in installation.keepers:
        if keeper.name == "media" and with_recordings:
            # Before the list of recordings: one that is completed in between is in the store.
            recordings.copy_spools(installation.media, scratch / "spools")
        tables[keeper.name] = copy_out(keeper, _copy_of(scratch, keeper), stages.advance)
    return tables


def _copy_of(scratch: Path, keeper: Keeper) -> Path:
    return scratch / f"{keeper.name}.sqlite3"


def _sizes(scratch: Path, installation: Installation) -> Iterator[int]:
    for keeper in installation.keepers:
        yield _copy_of(scratch, keeper).stat().st_size


def _put_databases(installation: Installation, scratch: Path, shelf: Shelf) -> list[Entry]:
    entries = []
    for keeper in installation.keepers:
        copy = _copy_of(scratch, keeper)
        settle(copy)
        with copy.open("rb") as source:
            entries.append(shelf.add(f"{DATABASES}/{copy.name}", source))
        copy.unlink()
    return entries


def _put_secrets(installation: Installation, shelf: Shelf) -> list[Entry]:
    """Copy the keys that sign tokens and name services, and the certificate's authority."""
    return [
        *_put_folder(shelf, KEYS, installation.user.keys_dir),
        *_put_folder(shelf, CERTIFICATES, installation.folder.tls),
    ]


def _put_trails(installation: Installation, shelf: Shelf) -> list[Entry]:
    """Copy the trails of what was done."""
    entries = []
    for keeper in installation.keepers:
        folder = keeper.settings.audit_dir
        entries += _put_folder(shelf, f"{AUDIT}/{keeper.name}", folder)
    return entries


def _put_folder(shelf: Shelf, area: str, folder: Path) -> list[Entry]:
    entries = []
    for path in sorted(folder.rglob("*")):
        # A name with a dot is of a file that is being written: under its own name it is whole.
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            with path.open("rb") as source:
                changed_at = path.stat().st_mtime
                name = f"{area}/{path.relative_to(folder).as_posix()}"
                entries.append(shelf.add(name, source, changed_at))
        except FileNotFoundError:
            # A key that was retired, a day's trail that was kept for long enough.
            continue
    return entries


def _deleted_since(installation: Installation, scratch: Path) -> list[str]:
    """Return the accounts in the copy that were deleted while the backup was taken."""
    user = installation.keeper("user")
    with connected(url_of(_copy_of(scratch, user))) as connection:
        copied = _accounts(connection)
    with failures_of(user), connected(user.url) as connection:
        return sorted(copied - _accounts(connection))


def _accounts(connection: Connection) -> set[str]:
    return set(connection.scalars(select(ACCOUNTS.c.user_id)))
