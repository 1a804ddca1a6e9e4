"""Everything that is kept about a learner, as one archive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.common.clock import Clock
from services.common.errors import Code, ParleyError, ResourceExhausted
from services.common.limits import DEFAULT_LIMITS
from services.user.archive import Archive

_AT_ONCE = DEFAULT_LIMITS.exports_at_once

_README = """\
Everything that Parley keeps about {username}, as of {made_at:%Y-%m-%d %H:%M} UTC.

account.json         the account: profile, goals, preferences, and where it is signed in
conversations.txt    every conversation with its corrections, to read
conversations.jsonl  the same with every detail: one JSON object a line, one line a conversation
{recordings}
"""
_WITH_SOUND = """\
recordings/          both voices of each conversation, lossless (FLAC), one file a voice
uploads/             files that were sent in, lossless (FLAC)
uploads.txt          what each of them was called
recordings.txt       recordings that could not be read, and why"""
_WITHOUT_SOUND = "Recordings were not asked for."

# A recording that is not there, is not ready or could not be kept: the others still come.
_LEFT_OUT = frozenset({Code.NOT_FOUND, Code.FAILED_PRECONDITION})


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording: of a conversation, or of a file that was sent in and had a name.

    voices: those that it has, `learner` and `tutor`; a file's is the learner's.
    """

    recording_id: str
    started_at: datetime
    voices: Sequence[str]
    file_name: str = ""

    def member(self, voice: str) -> str:
        """Return the name of a voice in the archive. A file's own name could be anything."""
        name = f"{self.started_at:%Y-%m-%d-%H%M}-{self.recording_id}"
        return f"uploads/{name}.flac" if self.file_name else f"recordings/{name}-{voice}.flac"


class Everything(Protocol):
    """What other services keep of one learner.

    Every method raises `ParleyError` when its service refuses or is away.
    """

    def transcripts(self, form: str) -> AsyncIterator[bytes]:
        """Yield the conversations as a file: `json_lines` or `text`."""
        ...

    async def recordings(self) -> Sequence[Recorded]:
        """Return every recording: of conversations, and of files that were sent in."""
        ...

    def sound(self, recording_id: str, voice: str) -> AsyncIterator[bytes]:
        """Yield a voice (`learner`, `tutor`) of a recording, as FLAC."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bytes of the archive, and how much of it is done, 0 to 1."""

    chunk: bytes
    progress: float


class Exporter:
    """Makes archives: one for each user, and pieces of a few at once.

    A place is held while a piece is made, and not while its reader takes it: who reads slowly
    keeps no other's. Full policy: a new archive is refused with TOO_MANY_CALLS; one that was begun
    waits its turn.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)
        # Whose are being made or sent.
        self._making: set[str] = set()

    async def archive(
        self,
        user_id: str,
        username: str,
        account: Mapping[str, object],
        everything: Everything,
        *,
        include_audio: bool,
    ) -> AsyncGenerator[Piece, None]:
        """Yield a ZIP archive of `account`, which becomes JSON, and of `everything`.

        Raises:
            ResourceExhausted: TOO_MANY_CALLS, before anything is yielded.
            ParleyError: a service refused or broke off; the archive is then to be thrown away.
        """
        if self._places.locked() or user_id in self._making:
            raise ResourceExhausted(
                "Too many copies are being made at once.", reason="TOO_MANY_CALLS", retry_after=10.0
            )
        self._making.add(user_id)
        try:
            made = self._made(username, account, everything, include_audio=include_audio)
            async with aclosing(made) as pieces:
                while True:
                    async with self._places:
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    yield piece
        finally:
            self._making.discard(user_id)

    async def _made(
        self,
        username: str,
        account: Mapping[str, object],
        everything: Everything,
        *,
        include_audio: bool,
    ) -> AsyncGenerator[Piece, None]:
        made_at = self._clock.now()
        archive = Archive()
        recordings = list(await everything.recordings()) if include_audio else []
        progress = _Progress(4 + sum(len(each.voices) for each in recordings))
        sound = _WITH_SOUND if include_audio else _WITHOUT_SOUND
        readme = _README.format(username=username, made_at=made_at, recordings=sound)
        members: list[tuple[str, AsyncIterator[bytes]]] = [
            ("README.txt", _once(readme)),
            ("account.json", _once(json.dumps(account, ensure_ascii=False, indent=2) + "\n")),
            ("conversations.txt", everything.transcripts("text")),
            ("conversations.jsonl", everything.transcripts("json_lines")),
        ]
        for name, pieces in members:
            async for chunk in archive.add(name, made_at, pieces):
                yield Piece(chunk, progress.share)
            progress.step()
        missing = []
        for each in recordings:
            for voice in each.voices:
                progress.step()
                try:
                    first, rest = await _begun(everything.sound(each.recording_id, voice))
                except ParleyError as error:
                    if error.code not in _LEFT_OUT:
                        raise
                    missing.append(f"{each.recording_id} {voice}: {error.reason}")
                    continue
                sound_pieces = _joined(first, rest)
                async for chunk in archive.add(
                    each.member(voice), each.started_at, sound_pieces, packed=True
                ):
                    yield Piece(chunk, progress.share)
        uploads = [f"{each.recording_id} {each.file_name}" for each in recordings if each.file_name]
        for name, lines in (("uploads.txt", uploads), ("recordings.txt", missing)):
            if lines:
                async for chunk in archive.add(name, made_at, _once("\n".join(lines) + "\n")):
                    yield Piece(chunk, progress.share)
        for chunk in archive.rest():
            yield Piece(chunk, 1.0)


class _Progress:
    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0

    def step(self) -> None:
        self._done += 1

    @property
    def share(self) -> float:
        return min(1.0, self._done / self._steps)


async def _once(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


async def _begun(pieces: AsyncIterator[bytes]) -> tuple[bytes, AsyncIterator[bytes]]:
    """Return the first piece and the others: what is refused is refused before it."""
    async for first in pieces:
        return first, pieces
    return b"", pieces


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
