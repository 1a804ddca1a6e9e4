"""The list of recordings, read through for housekeeping."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, update

from services.common.database import Database
from services.media.adapters.tables import RecordingRow, TrackRow
from services.media.housekeeping import GONE, Standing
from services.media.recordings import State, Track

# Rows read at once; what else uses the database comes in between.
_BATCH = 500

_STANDINGS = {
    State.RECORDING: Standing.OPEN,
    State.PROCESSING: Standing.OPEN,
    State.READY: Standing.READY,
    State.FAILED: Standing.FAILED,
}


class SqlInventory:
    """`Inventory` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standings(self, ids: Sequence[str]) -> Mapping[str, Standing]:
        """Return where recordings stand; those that are not known are left out."""
        wanted = select(
            RecordingRow.recording_id,
            RecordingRow.state,
            RecordingRow.deleted_at,
            RecordingRow.purged_at,
        ).where(RecordingRow.recording_id.in_(ids))
        async with self._database.snapshot() as session:
            rows = (await session.execute(wanted)).all()
        return {
            recording_id: _standing(State(state), deleted_at, purged_at)
            for recording_id, state, deleted_at, purged_at in rows
        }

    async def oldest(self) -> datetime | None:
        """Return when the first recording that is known began."""
        async with self._database.snapshot() as session:
            found: datetime | None = await session.scalar(select(func.min(RecordingRow.started_at)))
            return found

    async def count(self) -> int:
        """Return how many recordings there are that are not deleted."""
        wanted = select(func.count()).where(RecordingRow.deleted_at.is_(None))
        async with self._database.snapshot() as session:
            return int(await session.scalar(wanted) or 0)

    def ready(self) -> AsyncIterator[tuple[str, Sequence[Track]]]:
        """Yield every recording that is ready, with its tracks."""
        return self._walk(RecordingRow.state == State.READY)

    def lost(self) -> AsyncIterator[tuple[str, Sequence[Track]]]:
        """Yield every recording whose audio was found to be gone."""
        return self._walk(RecordingRow.state == State.FAILED, RecordingRow.failure == GONE)

    async def lose(self, recording_id: str) -> None:
        """Note that the audio of a recording, which is ready, is gone."""
        await self._change(recording_id, State.READY, "", State.FAILED, GONE)

    async def recover(self, recording_id: str) -> None:
        """Note that it is there again."""
        await self._change(recording_id, State.FAILED, GONE, State.READY, "")

    async def _change(
        self, recording_id: str, state: State, failure: str, to: State, why: str
    ) -> None:
        async with self._database.transaction() as session:
            await session.execute(
                update(RecordingRow)
                .where(
                    RecordingRow.recording_id == recording_id,
                    RecordingRow.deleted_at.is_(None),
                    RecordingRow.state == state,
                    RecordingRow.failure == failure,
                )
                .values(state=to, failure=why)
            )

    async def _walk(
        self, *conditions: ColumnElement[bool]
    ) -> AsyncIterator[tuple[str, Sequence[Track]]]:
        after = ""
        while True:
            ids = (
                select(RecordingRow.recording_id)
                .where(
                    RecordingRow.recording_id > after,
                    RecordingRow.deleted_at.is_(None),
                    *conditions,
                )
                .order_by(RecordingRow.recording_id)
                .limit(_BATCH)
            )
            async with self._database.snapshot() as session:
                found = (await session.scalars(ids)).all()
                tracks = (
                    await session.execute(
                        select(TrackRow.recording_id, TrackRow.track).where(
                            TrackRow.recording_id.in_(found)
                        )
                    )
                ).all()
            by_id: dict[str, list[Track]] = {recording_id: [] for recording_id in found}
            for recording_id, track in tracks:
                by_id[recording_id].append(Track(track))
            for recording_id, its in by_id.items():
                yield recording_id, its
            if len(found) < _BATCH:
                return
            after = found[-1]


def _standing(state: State, deleted_at: datetime | None, purged_at: datetime | None) -> Standing:
    if purged_at is not None:
        return Standing.PURGED
    return Standing.DELETED if deleted_at is not None else _STANDINGS[state]
