"""What the media service asks of its catalogue, its files and its codecs: the adapters do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from services.common.errors import FailedPrecondition, Unavailable
from services.media.recordings import Recording, StoredTrack, Track
from services.media.renditions import Rendition


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is left of a deleted recording; `user_id` is empty where it never began."""

    recording_id: str
    user_id: str


Known = Recording | Deleted


@dataclass(frozen=True, slots=True)
class Finished:
    """What a recording came to; `failure` is empty where nothing went wrong."""

    duration_ms: int
    tracks: Mapping[Track, StoredTrack]
    waveform: bytes = field(default=b"", repr=False)
    failure: str = ""


class Catalog(Protocol):
    """What is known of each recording. Every method is one transaction."""

    async def begin(self, recording: Recording, waiting_bytes: int = 0) -> Known:
        """Enter a new recording, or return what is known under its id.

        waiting_bytes: what each track of an upload takes until it is stored.
        """
        ...

    async def touch(self, recording_id: str) -> None:
        """Note that the recording's stream ended now."""
        ...

    async def process(self, recording_id: str, duration_ms: int) -> Known | None:
        """Note that nothing more comes, and how long it was; return what is known then."""
        ...

    async def finish(self, recording_id: str, finished: Finished) -> Known | None:
        """Note what the recording came to; return what is known then."""
        ...

    async def find(self, recording_id: str) -> Known | None:
        """Return what is known under an id."""
        ...

    async def of_conversation(self, conversation_id: str, user_id: str) -> Recording | None:
        """Return the user's newest recording of a conversation."""
        ...

    async def recordings_of(self, user_id: str, before: str, most: int) -> Sequence[Recording]:
        """Return recordings of a user, newest first, from behind the one of id `before` on."""
        ...

    async def uploaded_bytes(self, user_id: str) -> int:
        """Return what the files that a user sent take, stored or waiting for it."""
        ...

    async def of_user(self, user_id: str) -> Sequence[str]:
        """Return recordings of a user that are not deleted, some of them where they are many."""
        ...

    async def unpurged_of_user(self, user_id: str) -> int:
        """Return how many deleted recordings of a user may still have files."""
        ...

    async def scrub(self) -> None:
        """Take what was deleted out of the files as well."""
        ...

    async def delete(self, recording_id: str) -> None:
        """Mark a recording deleted, known or not: nothing is recorded under the id any more."""
        ...

    async def purged(self, recording_id: str) -> None:
        """Note that the files of a deleted recording are gone."""
        ...

    async def abandoned(self, untouched_seconds: float) -> Sequence[str]:
        """Return recordings that no stream has touched for so long."""
        ...

    async def unprocessed(self) -> Sequence[str]:
        """Return recordings that are complete and not encoded."""
        ...

    async def unpurged(self) -> Sequence[str]:
        """Return deleted recordings whose files may still be there."""
        ...

    async def expired(self) -> Sequence[str]:
        """Return recordings that are past their time."""
        ...


class SpoolWriter(Protocol):
    """A live recording's samples on disk. Its methods block; one caller at a time."""

    @property
    def lengths(self) -> dict[Track, int]:
        """Samples of each track, written so far."""
        ...

    def write(self, track: Track, first_sample: int, pcm: bytes) -> None:
        """Add samples; gaps become silence, and what is there is kept."""
        ...

    def sync(self) -> None:
        """Force what was written to disk."""
        ...

    def close(self) -> None:
        """Close the files. They stay."""
        ...


OpenSpool = Callable[[Path, Mapping[Track, int]], SpoolWriter]
"""Opens the spool in a folder, made when it is missing, for tracks at these rates. Blocks."""


@dataclass(frozen=True, slots=True)
class Originals:
    """What a finished spool came to. The files lie in the spool's folder."""

    duration_ms: int
    tracks: dict[Track, StoredTrack]
    files: dict[Track, Path]
    waveform: bytes = field(repr=False)


class VerificationError(Exception):
    """An original, decoded again, is not what was recorded."""


class DamagedError(Exception):
    """An original is not as it was stored: bytes are missing or changed."""


class LostError(FailedPrecondition):
    """What is kept of an original cannot be opened by any key: it was changed, or its key is gone.

    That says nothing of others. Where the settings lack the key that opens it, the error is a
    `FailedPrecondition` alone.
    """


class StoreRefusedError(Unavailable):
    """The store answers, and does not let Parley do this: its credentials, or their rights."""

    def __init__(self) -> None:
        super().__init__(
            "The store of recordings refuses access: see to what Parley may do there.",
            reason="STORAGE_UNAVAILABLE",
            retry_after=5.0,
        )


MakeOriginals = Callable[[Path, Mapping[Track, int], int], Originals]
"""Encodes the spool in a folder, for a conversation said to be so many milliseconds. Blocks.

Raises VerificationError, and OSError when the disk is full.
"""

OpenOriginal = Callable[[Track], BinaryIO]
"""Opens a track's original for reading and seeking; the caller closes it. Blocks."""

Render = Callable[[Recording, Rendition, OpenOriginal, Path], None]
"""Writes a rendition to a file, which appears only when it is complete. Blocks.

Raises DamagedError when an original does not give all its samples.
"""


DecodeUpload = Callable[[Path, str, Path, float, Callable[[], bool]], int]
"""Decodes a file (source, container, target, most seconds) and returns its rate in hertz. Blocks.

The last argument tells whether nobody waits for it any more: then it is given up.

Raises `Refused` with what is wrong with it, and OSError when the disk takes no more, or it was
given up.
"""


class UploadGoneError(Exception):
    """An upload in parts is not in the store any more, or not as it was left."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts that was begun and not completed."""

    key: str
    upload_id: str
    begun_at: datetime


class PartStore(Protocol):
    """A store that takes an object in parts, in any order and over any time.

    Raises `Unavailable` (STORAGE_UNAVAILABLE) when it is away, and `UploadGoneError` for an upload
    that it does not have.
    """

    part_bytes: int
    """What every part but the last holds."""

    async def begin(self, key: str) -> str:
        """Begin an upload of an object; return its id."""
        ...

    async def add(self, key: str, upload_id: str, number: int, data: bytes, *, last: bool) -> str:
        """Store a part, from 1 on, in place of the one that was there; return its tag."""
        ...

    async def complete(self, key: str, upload_id: str, tags: Mapping[int, str]) -> None:
        """Make the object of the parts with these tags."""
        ...

    async def abandon(self, key: str, upload_id: str) -> None:
        """Throw an upload away; one that is gone is fine."""
        ...

    async def unfinished(self, prefix: str) -> Sequence[Unfinished]:
        """Return the uploads of keys that begin with `prefix`."""
        ...


class GrowingOriginal(Protocol):
    """A track's original while its sound is still being made. Its methods block."""

    @property
    def size(self) -> int:
        """How many bytes are there; all but the header's are as they will be in the end."""
        ...

    def grow(self, samples: int) -> None:
        """Take the spool's samples up to so many."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return some of the bytes that are there."""
        ...

    def close(self) -> None:
        """Remove it."""
        ...


OpenGrowing = Callable[[Path, Track, int], GrowingOriginal]
"""Begins the original of a spool's track, which has so many samples a second. Blocks."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object in the store."""

    key: str
    stored_at: datetime


class ObjectStore(Protocol):
    """Where originals are kept. Raises `Unavailable` (STORAGE_UNAVAILABLE) when it is away."""

    @property
    def parts(self) -> PartStore | None:
        """Uploads in parts; None where the store has none."""
        ...

    async def put(self, key: str, file: Path) -> None:
        """Store a file. Returning means that a power cut does not lose it."""
        ...

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return a range of an object's bytes."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading and seeking. Blocks, as reading from it does."""
        ...

    async def delete_below(self, prefix: str) -> None:
        """Delete every object whose key begins with `prefix`, finished or not."""
        ...

    def below(self, prefix: str) -> AsyncIterator[Stored]:
        """Yield every object whose key begins with `prefix`."""
        ...

    async def link(self, key: str, lifetime: timedelta) -> str:
        """Return a URL that reads an object without credentials for a while."""
        ...

    def require_links(self) -> None:
        """Raise FailedPrecondition (LINKS_NOT_SUPPORTED) when this kind of store has none."""
        ...
