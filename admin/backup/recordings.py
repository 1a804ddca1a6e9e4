"""Recordings: their lossless originals, and the spools of those that are being made.

A recording moves while it is copied: from its spool to an original, or away when its learner
deletes it. So the spools are copied before the list of recordings is, and again after it; what the
list has as complete is taken from the store; and where a file has gone by then because it was
deleted, the copy of the list is told so. What is restored never lists what is not there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, Table, select, update

from admin.backup.databases import url_of, writing
from admin.backup.manifest import ORIGINALS, SPOOLS, Entry
from admin.backup.shelves import Shelf, SizeMismatchError
from admin.errors import AdminError
from admin.installation import Keeper
from admin.schema import connected, failures_of
from services.common.errors import ParleyError
from services.media.adapters.tables import RecordingRow, TrackRow
from services.media.ports import LostError, ObjectStore
from services.media.recordings import State, Track, object_key, object_prefix
from services.media.settings import MediaSettings

_RECORDINGS = cast("Table", RecordingRow.__table__)
_TRACKS = cast("Table", TrackRow.__table__)

# Read from the list at a time.
_AT_ONCE = 1_000

# A recording that nobody made.
_NOBODYS = "recordings/00000000-0000-7000-8000-000000000000/"


@dataclass(frozen=True, slots=True)
class Original:
    """A track of a complete recording, as the list has it."""

    recording_id: str
    track: Track
    size: int

    @property
    def key(self) -> str:
        """Where it is in the store."""
        return object_key(self.recording_id, self.track)


@dataclass(slots=True)
class Copied:
    """What was copied, and what was not.

    missing: the recordings whose files the store does not have. damaged: those that Parley sealed,
        and whose files were changed or cut off since, or lost their keys.
    """

    entries: list[Entry] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def store_of(settings: MediaSettings) -> ObjectStore:
    """Open the store of the recordings: what Parley sealed in it is read unsealed.

    Raises:
        AdminError: the settings name none.
    """
    # It loads all that the service runs on, codecs included.
    from services.media.adapters.sealed_objects import SealedObjects  # noqa: PLC0415
    from services.media.bootstrap import open_store, sealing_keys  # noqa: PLC0415

    try:
        return SealedObjects(open_store(settings), sealing_keys(settings))
    except (ValueError, OSError) as error:
        raise AdminError(f"The store of recordings cannot be opened: {error}.") from error


def ask_store(settings: MediaSettings) -> None:
    """Ask the store for nobody's recording, which costs it nothing.

    Raises:
        AdminError: the settings name none. ParleyError: it does not answer.
    """
    from services.media.bootstrap import open_store  # noqa: PLC0415

    try:
        objects = open_store(settings)
    except (ValueError, OSError) as error:
        raise AdminError(f"The store of recordings cannot be opened: {error}.") from error
    objects.ask_now(_NOBODYS)


def copy_spools(settings: MediaSettings, scratch: Path) -> None:
    """Copy the spools of all recordings that are being made, anew where they were copied before.

    What is written meanwhile is in the copy or not; a spool is whole wherever it ends.
    """
    for spool in _folders(settings.spool_dir):
        _copy_spool(spool, scratch / spool.name)


def estimated_bytes(listed: Path) -> int:
    """Return how many bytes the originals take by a copy of the list."""
    with connected(url_of(listed)) as connection:
        return sum(each.size for each in _originals(connection))


def copy_recordings(
    keeper: Keeper, settings: MediaSettings, shelf: Shelf, listed: Path, spools: Path
) -> Copied:
    """Copy what the list has, and bring the copy of the list into line where something went.

    listed: the copy of the media service's database. spools: those copied before it was.

    Raises:
        AdminError: the store or the database does not answer.
    """
    copied = Copied()
    objects = store_of(settings)
    gone: set[str] = set()
    damaged: set[str] = set()
    with connected(url_of(listed)) as connection:
        for original in _originals(connection):
            if original.recording_id in gone | damaged:
                continue
            try:
                copied.entries.append(_copy_original(objects, shelf, original))
            except (FileNotFoundError, SizeMismatchError):
                gone.add(original.recording_id)
            except LostError:
                damaged.add(original.recording_id)
        under_way = _under_way(connection)
    # What is deleted just now may show as either.
    deleted = _deleted(keeper, sorted(gone | damaged))
    _tell(listed, deleted)
    copied.missing = sorted(gone - set(deleted))
    copied.damaged = sorted(damaged - set(deleted))
    # One track may have been copied before the other was gone.
    unwanted = {f"{ORIGINALS}/{object_prefix(each)}" for each in deleted}
    copied.entries = [each for each in copied.entries if not each.name.startswith(tuple(unwanted))]
    for recording_id in under_way:
        spool = settings.spool_dir / recording_id
        if spool.is_dir():
            _copy_spool(spool, spools / recording_id)
        copied.entries += _put_spool(shelf, spools / recording_id)
    return copied


def _originals(connection: Connection) -> Iterator[Original]:
    """Yield the tracks of every complete recording, in the order of their ids."""
    track, recording = _TRACKS.c, _RECORDINGS.c
    wanted = (
        select(track.recording_id, track.track, track.size_bytes)
        .join(_RECORDINGS, recording.recording_id == track.recording_id)
        .where(recording.state == State.READY, recording.deleted_at.is_(None))
        .order_by(track.recording_id, track.track)
    )
    found = connection.execute(wanted, execution_options={"yield_per": _AT_ONCE})
    for recording_id, number, size in found:
        yield Original(recording_id, Track(number), size)


def _under_way(connection: Connection) -> Sequence[str]:
    recording = _RECORDINGS.c
    wanted = select(recording.recording_id).where(
        recording.state.in_([State.RECORDING, State.PROCESSING]), recording.deleted_at.is_(None)
    )
    return connection.scalars(wanted).all()


def _copy_original(objects: ObjectStore, shelf: Shelf, original: Original) -> Entry:
    """Copy one original.

    Raises:
        FileNotFoundError, SizeMismatchError: the store does not have it as the list says.
        LostError: it was sealed, and cannot be opened any more.
        AdminError: the store does not answer, or the settings lack the key that opens it.
    """
    name = f"{ORIGINALS}/{original.key}"
    try:
        with objects.open(original.key) as source:
            return shelf.add(name, source, size=original.size)
    except LostError:
        raise
    except ParleyError as error:
        raise AdminError(
            f"A recording cannot be read from its store: {error}",
            "Nothing was kept of this backup; `--no-recordings` makes one without them.",
        ) from error


def _deleted(keeper: Keeper, recording_ids: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return those of the recordings that the service has as deleted by now, and since when."""
    if not recording_ids:
        return {}
    recording = _RECORDINGS.c
    found: dict[str, dict[str, object]] = {}
    with failures_of(keeper), connected(keeper.url) as connection:
        for begin in range(0, len(recording_ids), _AT_ONCE):
            some = recording_ids[begin : begin + _AT_ONCE]
            wanted = select(
                recording.recording_id, recording.deleted_at, recording.purged_at
            ).where(recording.recording_id.in_(some), recording.deleted_at.is_not(None))
            for recording_id, deleted_at, purged_at in connection.execute(wanted):
                found[recording_id] = {"deleted_at": deleted_at, "purged_at": purged_at}
    return found


def _tell(listed: Path, deleted: dict[str, dict[str, object]]) -> None:
    """Have the copy of the list know what was deleted after it was taken."""
    with writing(listed) as connection:
        for recording_id, times in deleted.items():
            connection.execute(
                update(_RECORDINGS)
                .where(_RECORDINGS.c.recording_id == recording_id)
                .values(**times, waveform=b"", failure="", file_name="")
            )


def _folders(parent: Path) -> list[Path]:
    return [each for each in sorted(parent.iterdir()) if each.is_dir()] if parent.is_dir() else []


def _copy_spool(spool: Path, to: Path) -> None:
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    for file in sorted(spool.glob("*")):
        try:
            if file.is_file():
                shutil.copyfile(file, to / file.name)
        except FileNotFoundError:
            # The recording was completed just now: its original is in the store.
            continue


def _put_spool(shelf: Shelf, spool: Path) -> list[Entry]:
    entries = []
    for file in sorted(spool.glob("*")) if spool.is_dir() else []:
        with file.open("rb") as source:
            entries.append(shelf.add(f"{SPOOLS}/{spool.name}/{file.name}", source))
    return entries
