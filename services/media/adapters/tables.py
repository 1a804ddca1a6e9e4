"""The tables of the media service."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from services.common.timestamps import UtcDateTime

_ID = String(36)


class Base(DeclarativeBase):
    """The declarative base of this service alone."""


class RecordingRow(Base):
    """A recording. Once deleted it only keeps its id from being recorded under again.

    touched_at: when its stream last began or ended; it says how long it has been abandoned, and
        how long it has been kept.
    delete_at: of the version before; nobody reads it.
    purged_at: when the files of a deleted recording were gone.
    """

    __tablename__ = "recordings"
    __table_args__ = (
        Index("ix_recordings_conversation", "conversation_id"),
        Index("ix_recordings_state", "state", "touched_at"),
        Index("ix_recordings_unpurged", "deleted_at", "purged_at"),
        Index("ix_recordings_expiry", "delete_at"),
        Index("ix_recordings_age", "deleted_at", "touched_at"),
        Index("ix_recordings_user", "user_id", "started_at", "recording_id"),
    )

    recording_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(_ID, default="")
    user_id: Mapped[str] = mapped_column(_ID, default="")
    state: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    touched_at: Mapped[datetime] = mapped_column(UtcDateTime)
    duration_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    waveform: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    failure: Mapped[str] = mapped_column(Text, default="")
    file_name: Mapped[str] = mapped_column(Text, default="")
    delete_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    purged_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    tracks: Mapped[list[TrackRow]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", order_by="TrackRow.track"
    )


class TrackRow(Base):
    """A track of a recording. All but its rate is empty before the original is stored.

    size_bytes: of the original; before, and where it could not be kept, what waits of an upload.
    """

    __tablename__ = "tracks"

    recording_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("recordings.recording_id", ondelete="CASCADE"), primary_key=True
    )
    track: Mapped[int] = mapped_column(Integer, primary_key=True)
    rate_hz: Mapped[int] = mapped_column(Integer)
    samples: Mapped[int] = mapped_column(BigInteger, default=0)
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str] = mapped_column(String(64), default="")
    peak: Mapped[int] = mapped_column(Integer, default=0)
    loudness_lufs: Mapped[float | None] = mapped_column(Double, default=None)
