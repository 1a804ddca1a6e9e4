"""What is known of each recording, in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, tuple_, update
from sqlalchemy.orm import aliased

from services.common.claims import claim
from services.common.clock import Clock
from services.common.database import Database
from services.media.adapters.tables import RecordingRow, TrackRow
from services.media.ports import Deleted, Finished, Known
from services.media.recordings import Recording, State, StoredTrack, Track

# A sweep takes so many at once; the rest wait for the next.
_BATCH = 100


class SqlCatalog:
    """`Catalog` over a database.

    kept: how long recordings are, from their end; None for ever.
    """

    def __init__(self, database: Database, clock: Clock, kept: timedelta | None = None) -> None:
        self._database = database
        self._clock = clock
        self._kept = kept

    async def begin(self, recording: Recording, waiting_bytes: int = 0) -> Known:
        """Enter a new recording, or return what is known under its id."""
        async with self._database.transaction() as session:
            await claim(session, recording.recording_id)
            row = await session.get(RecordingRow, recording.recording_id)
            if row is not None:
                if row.deleted_at is None and row.state == State.RECORDING:
                    row.touched_at = self._clock.now()
                return _known(row, self._kept)
            session.add(
                RecordingRow(
                    recording_id=recording.recording_id,
                    conversation_id=recording.conversation_id,
                    user_id=recording.user_id,
                    state=recording.state,
                    started_at=recording.started_at,
                    touched_at=self._clock.now(),
                    file_name=recording.file_name,
                    tracks=[
                        TrackRow(track=int(track), rate_hz=rate, size_bytes=waiting_bytes)
                        for track, rate in recording.rates_hz.items()
                    ],
                )
            )
            return recording

    async def touch(self, recording_id: str) -> None:
        """Note that the recording's stream ended now."""
        async with self._database.transaction() as session:
            await session.execute(
                update(RecordingRow)
                .where(RecordingRow.recording_id == recording_id)
                .values(touched_at=self._clock.now())
            )

    async def process(self, recording_id: str, duration_ms: int) -> Known | None:
        """Note that nothing more comes, and how long it was; return what is known then."""
        async with self._database.transaction() as session:
            await claim(session, recording_id)
            row = await session.get(RecordingRow, recording_id)
            if row is None:
                return None
            if row.deleted_at is None and row.state == State.RECORDING:
                row.state = State.PROCESSING
                row.duration_ms = duration_ms
                row.touched_at = self._clock.now()
            return _known(row, self._kept)

    async def finish(self, recording_id: str, finished: Finished) -> Known | None:
        """Note what the recording came to."""
        async with self._database.transaction() as session:
            await claim(session, recording_id)
            row = await session.get(RecordingRow, recording_id)
            if row is None or row.deleted_at is not None or row.state != State.PROCESSING:
                return None if row is None else _known(row, self._kept)
            row.state = State.FAILED if finished.failure else State.READY
            row.failure = finished.failure
            row.duration_ms = finished.duration_ms
            row.waveform = finished.waveform
            for track in row.tracks:
                stored = finished.tracks.get(Track(track.track))
                if stored is not None:
                    track.rate_hz = stored.rate_hz
                    track.samples = stored.samples
                    track.size_bytes = stored.size_bytes
                    track.sha256 = stored.sha256
                    track.peak = stored.peak
                    track.loudness_lufs = stored.loudness_lufs
            return _known(row, self._kept)

    async def find(self, recording_id: str) -> Known | None:
        """Return what is known under an id."""
        async with self._database.snapshot() as session:
            row = await session.get(RecordingRow, recording_id)
            return None if row is None else _known(row, self._kept)

    async def of_conversation(self, conversation_id: str, user_id: str) -> Recording | None:
        """Return the user's newest recording of a conversation."""
        async with self._database.snapshot() as session:
            row = await session.scalar(
                select(RecordingRow)
                .where(
                    RecordingRow.conversation_id == conversation_id,
                    RecordingRow.user_id == user_id,
                    RecordingRow.deleted_at.is_(None),
                )
                .order_by(RecordingRow.started_at.desc(), RecordingRow.recording_id.desc())
                .limit(1)
            )
            return None if row is None else _recording(row, self._kept)

    async def recordings_of(self, user_id: str, before: str, most: int) -> Sequence[Recording]:
        """Return recordings of a user, newest first, from behind the one of id `before` on."""
        conditions = [RecordingRow.user_id == user_id, RecordingRow.deleted_at.is_(None)]
        place = tuple_(RecordingRow.started_at, RecordingRow.recording_id)
        if before:
            last = aliased(RecordingRow)
            begun = select(last.started_at).where(
                last.recording_id == before, last.user_id == user_id
            )
            conditions.append(place < tuple_(begun.scalar_subquery(), before))
        newest = (RecordingRow.started_at.desc(), RecordingRow.recording_id.desc())
        async with self._database.snapshot() as session:
            rows = await session.scalars(
                select(RecordingRow).where(*conditions).order_by(*newest).limit(most)
            )
            return [_recording(row, self._kept) for row in rows]

    async def uploaded_bytes(self, user_id: str) -> int:
        """Return what the files that a user sent take, stored or waiting for it."""
        total = (
            select(func.coalesce(func.sum(TrackRow.size_bytes), 0))
            .join(RecordingRow, RecordingRow.recording_id == TrackRow.recording_id)
            .where(
                RecordingRow.user_id == user_id,
                RecordingRow.conversation_id == "",
                RecordingRow.deleted_at.is_(None),
            )
        )
        async with self._database.snapshot() as session:
            return int(await session.scalar(total) or 0)

    async def of_user(self, user_id: str) -> Sequence[str]:
        """Return recordings of a user that are not deleted, some of them where they are many."""
        return await self._ids(RecordingRow.user_id == user_id, RecordingRow.deleted_at.is_(None))

    async def unpurged_of_user(self, user_id: str) -> int:
        """Return how many deleted recordings of a user may still have files."""
        unpurged = await self._ids(
            RecordingRow.user_id == user_id,
            RecordingRow.deleted_at.is_not(None),
            RecordingRow.purged_at.is_(None),
        )
        return len(unpurged)

    async def scrub(self) -> None:
        """Take what was deleted out of the files as well."""
        await self._database.scrub()

    async def delete(self, recording_id: str) -> None:
        """Mark a recording deleted, known or not: nothing is recorded under the id any more."""
        now = self._clock.now()
        async with self._database.transaction() as session:
            await claim(session, recording_id)
            row = await session.get(RecordingRow, recording_id)
            if row is None:
                session.add(
                    RecordingRow(
                        recording_id=recording_id,
                        state=State.FAILED,
                        started_at=now,
                        touched_at=now,
                        deleted_at=now,
                    )
                )
            elif row.deleted_at is None:
                row.deleted_at = now
                # What is left is the mark and whose it was, so that deleting again is fine.
                row.waveform, row.failure, row.file_name = b"", "", ""

    async def purged(self, recording_id: str) -> None:
        """Note that the files of a deleted recording are gone."""
        async with self._database.transaction() as session:
            await session.execute(
                update(RecordingRow)
                .where(RecordingRow.recording_id == recording_id)
                .values(purged_at=self._clock.now())
            )

    async def abandoned(self, untouched_seconds: float) -> Sequence[str]:
        """Return recordings that no stream has touched for so long."""
        before = self._clock.now() - timedelta(seconds=untouched_seconds)
        return await self._ids(
            RecordingRow.deleted_at.is_(None),
            RecordingRow.state == State.RECORDING,
            RecordingRow.touched_at <= before,
        )

    async def unprocessed(self) -> Sequence[str]:
        """Return recordings that are complete and not encoded."""
        return await self._ids(
            RecordingRow.deleted_at.is_(None), RecordingRow.state == State.PROCESSING
        )

    async def unpurged(self) -> Sequence[str]:
        """Return deleted recordings whose files may still be there."""
        return await self._ids(
            RecordingRow.deleted_at.is_not(None), RecordingRow.purged_at.is_(None)
        )

    async def expired(self) -> Sequence[str]:
        """Return recordings that are past their time."""
        if self._kept is None:
            return []
        return await self._ids(*older_than(self._clock.now() - self._kept))

    async def _ids(self, *conditions: ColumnElement[bool]) -> Sequence[str]:
        async with self._database.snapshot() as session:
            found = await session.scalars(
                select(RecordingRow.recording_id)
                .where(*conditions)
                .order_by(RecordingRow.touched_at)
                .limit(_BATCH)
            )
            return found.all()


def older_than(when: datetime) -> list[ColumnElement[bool]]:
    """Choose what ended before then, whatever it came to: a spool is somebody's voice as well."""
    return [RecordingRow.deleted_at.is_(None), RecordingRow.touched_at <= when]


def _known(row: RecordingRow, kept: timedelta | None) -> Known:
    if row.deleted_at is not None:
        return Deleted(row.recording_id, row.user_id)
    return _recording(row, kept)


def _recording(row: RecordingRow, kept: timedelta | None) -> Recording:
    delete_at = None
    # One that is being recorded has not ended.
    if kept is not None and row.state != State.RECORDING:
        delete_at = row.touched_at + kept
    stored = row.tracks if row.state == State.READY else []
    return Recording(
        recording_id=row.recording_id,
        conversation_id=row.conversation_id,
        user_id=row.user_id,
        state=State(row.state),
        started_at=row.started_at,
        rates_hz={Track(track.track): track.rate_hz for track in row.tracks},
        duration_ms=row.duration_ms,
        tracks={
            Track(track.track): StoredTrack(
                track.rate_hz,
                track.samples,
                track.size_bytes,
                track.sha256,
                track.peak,
                track.loudness_lufs,
            )
            for track in stored
        },
        waveform=row.waveform,
        failure=row.failure,
        file_name=row.file_name,
        delete_at=delete_at,
    )
