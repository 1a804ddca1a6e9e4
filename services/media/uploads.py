"""Files that learners bring: received within a limit, known by their bytes, decoded apart.

Nothing about a file is believed: its name is only shown, its kind is read from its first bytes,
its length is counted.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
import unicodedata
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.common.clock import Clock
from services.common.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    ParleyError,
    ResourceExhausted,
    Unavailable,
)
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS
from services.common.tallies import Tallies
from services.media import id3
from services.media.finisher import Finisher
from services.media.ports import Catalog, DecodeUpload, Deleted, Known
from services.media.problems import Problem, Refused
from services.media.recordings import Recording, State, Track
from services.media.spool_room import SpoolRoom
from services.media.workers import Workers

WRITE_BYTES = 1024 * 1024
"""Held in memory for each upload before it goes to disk."""

_AT_ONCE_OF_USER = DEFAULT_LIMITS.uploads_per_user

_HEAD_BYTES = 16
"""As many as the longest signature needs."""

_FLAC = b"fLaC"

_PICTURES = frozenset({b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"crx "})
"""What a phone's camera makes begins like what its microphone does."""

_NAMESPACE = uuid.UUID("5b0e4a5c-4a55-5d0f-9d4e-0c6c1a6e7f10")
"""Ours alone; recording ids of uploads that carry a request id are named in it."""


_SAID = {
    Problem.NOT_AUDIO: "This is not a WAV, FLAC, MP3, M4A, Ogg or WebM file.",
    Problem.DAMAGED: "It cannot be decoded: it is damaged.",
    Problem.TRUNCATED: "It ends before what it says that it holds: it was cut off.",
    Problem.FOREIGN: "There is something in it, or behind its end, that is no sound.",
    Problem.CODEC: "Its sound is in a form that is not taken.",
    Problem.TOO_COSTLY: "It takes more time or memory to decode than a file may.",
    Problem.NO_AUDIO: "There is no audio in it.",
}


@dataclass(frozen=True, slots=True)
class Upload:
    """What the caller says of a file. `size_bytes` 0: not known."""

    user_id: str
    file_name: str
    size_bytes: int
    request_id: str

    @property
    def recording_id(self) -> str:
        """The id it is stored under: the same for the same user and request id."""
        if not self.request_id:
            return new_id()
        return str(uuid.uuid5(_NAMESPACE, f"{self.user_id}/{self.request_id}"))


def container_of(head: bytes) -> str | None:
    """Return FFmpeg's name of the container that begins with `head`; None when not allowed."""
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        # ID3v2, or a frame sync with layer III.
        return "mp3"
    if head[4:8] == b"ftyp" and head[8:12] not in _PICTURES:
        # QuickTime and its children, whatever they are called: M4A, MP4, 3GP.
        return "mov"
    for signature, container in ((_FLAC, "flac"), (b"OggS", "ogg"), (b"\x1aE\xdf\xa3", "webm")):
        if head.startswith(signature):
            return "matroska" if container == "webm" else container
    return None


def container_in(file: BinaryIO) -> str | None:
    """Return FFmpeg's name of a file's container; None when not allowed."""
    head = file.read(_HEAD_BYTES)
    if tag := id3.tag_bytes(head):
        # Some programs put an MP3's tag in front of FLAC.
        file.seek(tag)
        if file.read(len(_FLAC)) == _FLAC:
            return "flac"
    return container_of(head)


def shown_name(name: str) -> str:
    """Return a file's name without folders and without characters that are not for showing."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(each for each in last if unicodedata.category(each)[0] != "C").strip()


class Uploads:
    """Stores uploaded files as recordings with one track, the learner's.

    `ended` is told of each what was wrong with it, empty where nothing was.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        finisher: Finisher,
        workers: Workers,
        decode: DecodeUpload,
        ended: Callable[[str], None],
        clock: Clock,
        folder: Path,
        spool_of: Callable[[str], Path],
        room: SpoolRoom,
        max_bytes: int,
        max_bytes_of_user: int,
        max_seconds: float,
    ) -> None:
        self._catalog = catalog
        self._finisher = finisher
        self._workers = workers
        self._decode = decode
        self._ended = ended
        self._clock = clock
        self._folder = folder
        self._spool_of = spool_of
        self._room = room
        self._entering: set[str] = set()
        # One after another, so that each sees the room that the one before left.
        self._door = asyncio.Lock()
        self._max_bytes = max_bytes
        self._max_bytes_of_user = max_bytes_of_user
        self._receiving = Tallies()
        self._max_seconds = max_seconds

    def clear(self) -> None:
        """Remove what uploads that were cut by a kill left behind. Blocks; call it at the start."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def is_entering(self, recording_id: str) -> bool:
        """Tell whether a recording was entered whose file is only just being moved."""
        return recording_id in self._entering

    async def store(self, upload: Upload, chunks: AsyncIterator[bytes]) -> Recording:
        """Store a file; with a known request id, return what was stored then.

        Raises:
            AlreadyExists: RECORDING_CONFLICT, when the request id was another file's.
            InvalidArgument: BAD_AUDIO or NO_AUDIO; `problem` in the metadata says more.
            NotFound: RECORDING_NOT_FOUND, when the request id's recording was deleted.
            ResourceExhausted: FILE_TOO_LARGE, MEDIA_BUSY.
            Unavailable: STORAGE_UNAVAILABLE, also while what is not stored yet takes the room.
        """
        try:
            recording = await self._store(upload, chunks)
        except Refused as refused:
            self._ended(refused.problem)
            raise self._refusal(refused.problem) from None
        self._ended("")
        return recording

    async def _store(self, upload: Upload, chunks: AsyncIterator[bytes]) -> Recording:
        if upload.size_bytes > self._max_bytes:
            raise Refused(Problem.TOO_LARGE)
        recording_id = upload.recording_id
        known = await self._catalog.find(recording_id)
        if known is None or await self._never_came(known):
            async with self._place_of(upload.user_id), self._workplace() as folder:
                await self._room.require_for_upload()
                await self._receive(chunks, folder / "upload")
                rate_hz = await self._samples(folder)
                known = await self._enter(upload, recording_id, rate_hz, folder)
        if isinstance(known, Deleted):
            raise NotFound("The recording was deleted.", reason="RECORDING_NOT_FOUND")
        return await self._finisher.finish(recording_id)

    async def _never_came(self, known: Known) -> bool:
        """Tell whether a file was entered, and something ended before it was in the spool."""
        if not isinstance(known, Recording) or known.state is not State.RECORDING:
            return False
        return not await asyncio.to_thread(self._spool_of(known.recording_id).exists)

    @asynccontextmanager
    async def _place_of(self, user_id: str) -> AsyncIterator[None]:
        """Hold one of a user's places, when what the user has leaves room for more.

        Full policy: one more at once is refused with MEDIA_BUSY.
        """
        if self._receiving.of(user_id) >= _AT_ONCE_OF_USER:
            raise ResourceExhausted(
                "As many files of this account are being received as may be at once.",
                reason="MEDIA_BUSY",
                retry_after=5.0,
            )
        with self._receiving.one_more(user_id):
            if self._max_bytes_of_user:
                kept = await self._catalog.uploaded_bytes(user_id)
                if kept >= self._max_bytes_of_user:
                    raise ResourceExhausted(
                        "The files of this account take as much as they may: delete some.",
                        reason="FILE_TOO_LARGE",
                        metadata={"limit_bytes": str(self._max_bytes_of_user)},
                    )
            yield

    async def _receive(self, chunks: AsyncIterator[bytes], path: Path) -> None:
        held, size = bytearray(), 0
        with await asyncio.to_thread(path.open, "wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > self._max_bytes:
                    raise Refused(Problem.TOO_LARGE)
                held += chunk
                if len(held) >= WRITE_BYTES:
                    await asyncio.to_thread(file.write, bytes(held))
                    held.clear()
            await asyncio.to_thread(file.write, bytes(held))

    async def _samples(self, folder: Path) -> int:
        """Decode `upload` in the folder to the learner's spool file; return its rate in hertz."""
        source = folder / "upload"
        container = await asyncio.to_thread(_container_at, source)
        if container is None:
            raise Refused(Problem.NOT_AUDIO)
        target = folder / f"{Track.LEARNER.label}.pcm"
        gone = threading.Event()
        try:
            rate_hz = await self._workers.run(
                self._decode, source, container, target, self._max_seconds, gone.is_set
            )
        finally:
            # Should the sender be gone, somebody else's file is next.
            gone.set()
        await asyncio.to_thread(source.unlink)
        return rate_hz

    async def _enter(self, upload: Upload, recording_id: str, rate_hz: int, folder: Path) -> Known:
        """Enter the recording in the list, then move its folder to the spool.

        In this order, so that nothing is ever on the disk that no list knows: what is cut in
        between is a recording that nobody continues, and completed as such.
        """
        recording = Recording(
            recording_id=recording_id,
            conversation_id="",
            user_id=upload.user_id,
            state=State.RECORDING,
            started_at=self._clock.now(),
            rates_hz={Track.LEARNER: rate_hz},
            file_name=shown_name(upload.file_name),
        )
        job = asyncio.create_task(self._move_in(recording, folder))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            # The folder must not be cleared away while it is moved.
            await asyncio.wait([job])
            if not job.cancelled():
                job.exception()
            raise

    async def _move_in(self, recording: Recording, folder: Path) -> Known:
        recording_id = recording.recording_id
        async with self._door:
            size = await asyncio.to_thread(_size_of, folder)
            await self._room.require_for_upload(size)
            self._entering.add(recording_id)
            try:
                known = await self._catalog.begin(recording, size)
                if isinstance(known, Deleted):
                    return known
                if not known.same_origin(recording):
                    raise AlreadyExists(
                        "This request id was used for another file.", reason="RECORDING_CONFLICT"
                    )
                if known.state is State.RECORDING:
                    # The same request may come twice at once; then the other one was here first.
                    with suppress(FileExistsError):
                        await asyncio.to_thread(_move, folder, self._spool_of(recording_id))
                return known
            finally:
                self._entering.discard(recording_id)

    @asynccontextmanager
    async def _workplace(self) -> AsyncIterator[Path]:
        folder = self._folder / new_id()
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, mode=0o700)
            yield folder
        except OSError as error:
            raise Unavailable(
                "The file cannot be stored: the disk takes no more.",
                reason="STORAGE_UNAVAILABLE",
                retry_after=5.0,
            ) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _refusal(self, problem: Problem) -> ParleyError:
        told = {"problem": problem.value}
        match problem:
            case Problem.TOO_LARGE:
                return ResourceExhausted(
                    f"A file may have {self._max_bytes:,} bytes.",
                    reason="FILE_TOO_LARGE",
                    metadata=told | {"limit_bytes": str(self._max_bytes)},
                )
            case Problem.TOO_LONG:
                return ResourceExhausted(
                    f"A file may last {self._max_seconds:,.0f} s.",
                    reason="FILE_TOO_LARGE",
                    metadata=told | {"limit_seconds": f"{self._max_seconds:.0f}"},
                )
            case _:
                reason = "NO_AUDIO" if problem is Problem.NO_AUDIO else "BAD_AUDIO"
                return InvalidArgument(_SAID[problem], reason=reason, metadata=told)


def _container_at(path: Path) -> str | None:
    with path.open("rb") as file:
        return container_in(file)


def _size_of(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.iterdir())


def _move(folder: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if to.exists():
        raise FileExistsError(to)
    folder.rename(to)
