"""Everything that is kept about a learner, as one archive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.common.clock import Clock
from services.common.errors import Code, ParleyError, ResourceExhausted
from services.user.archive import Archive

# Each holds a call to another service open; more at once would slow those who talk.
_AT_ONCE = 4

_README = """\
Everything that Parley keeps about {username}, as of {made_at:%Y-%m-%d %H:%M} UTC.

account.json         the account: profile, goals, preferences, and where it is signed in
conversations.txt    every conversation with its corrections, to read
conversations.jsonl  the same with every detail: one JSON object a line, one line a conversation
{recordings}
"""
_WITH_SOUND = """\
recordings/          both voices of each conversation, lossless (FLAC), one file a voice
recordings.txt       recordings that could not be read, and why"""
_WITHOUT_SOUND = "Recordings were not asked for."

# A recording that is not there, is not ready or could not be kept: the others still come.
_LEFT_OUT = frozenset({Code.NOT_FOUND, Code.FAILED_PRECONDITION})


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording of a conversation."""

    recording_id: str
    started_at: datetime


class Everything(Protocol):
    """What other services keep of one learner.

    Every method raises `ParleyError` when its service refuses or is away.
    """

    def transcripts(self, form: str) -> AsyncIterator[bytes]:
        """Yield the conversations as a file: `json_lines` or `text`."""
        ...

    async def recordings(self) -> Sequence[Recorded]:
        """Return the recordings of all conversations."""
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
    """Makes archives, a few at once. Full policy: one more is refused with TOO_MANY_CALLS."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def archive(
        self,
        username: str,
        account: Mapping[str, object],
        everything: Everything,
        *,
        include_audio: bool,
    ) -> AsyncIterator[Piece]:
        """Yield a ZIP archive of `account`, which becomes JSON, and of `everything`.

        Raises:
            ResourceExhausted: TOO_MANY_CALLS, before anything is yielded.
            ParleyError: a service refused or broke off; the archive is then to be thrown away.
        """
        if self._places.locked():
            raise ResourceExhausted(
                "Too many copies are being made at once.", reason="TOO_MANY_CALLS", retry_after=10.0
            )
        async with self._places:
            made_at = self._clock.now()
            archive = Archive()
            recordings = list(await everything.recordings()) if include_audio else []
            progress = _Progress(4 + 2 * len(recordings))
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
                for voice in ("learner", "tutor"):
                    progress.step()
                    try:
                        first, rest = await _begun(everything.sound(each.recording_id, voice))
                    except ParleyError as error:
                        if error.code not in _LEFT_OUT:
                            raise
                        missing.append(f"{each.recording_id} {voice}: {error.reason}")
                        continue
                    name = f"{each.started_at:%Y-%m-%d-%H%M}-{each.recording_id}-{voice}.flac"
                    sound_pieces = _joined(first, rest)
                    async for chunk in archive.add(
                        f"recordings/{name}", each.started_at, sound_pieces, packed=True
                    ):
                        yield Piece(chunk, progress.share)
            if missing:
                listed = _once("\n".join(missing) + "\n")
                async for chunk in archive.add("recordings.txt", made_at, listed):
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
