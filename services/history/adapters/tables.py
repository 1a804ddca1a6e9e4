"""The tables of the history service.

A turn is kept whole, as the serialized message, beside the columns that are asked by. Every table
carries the user's id or hangs on one that does.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.outbox import OutboxMixin
from services.common.timestamps import UtcDateTime

_ID = String(36)
_ROWID = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The declarative base of this service alone."""


class EventRow(Base):
    """An event that was stored: what makes Ingest idempotent."""

    __tablename__ = "events"

    event_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(_ID, index=True)
    user_id: Mapped[str] = mapped_column(_ID)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(16))


class ConversationRow(Base):
    """A conversation. Once deleted, only its ids and times of deletion are left.

    sort_at: when it began; before `started` came, the earliest time that is known of it.
    recording_at: when the recording `recording_id` was stored; the latest one wins.
    """

    __tablename__ = "conversations"
    __table_args__ = (Index("ix_conversations_page", "user_id", "sort_at", "conversation_id"),)

    conversation_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    user_id: Mapped[str] = mapped_column(_ID)
    sort_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started: Mapped[bool] = mapped_column(Boolean, default=False)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    scenario_id: Mapped[str] = mapped_column(String(64), default="")
    scenario_title: Mapped[str] = mapped_column(String(120), default="")
    engine: Mapped[str] = mapped_column(String(100), default="")
    voice: Mapped[str] = mapped_column(String(100), default="")
    recording_id: Mapped[str] = mapped_column(_ID, default="")
    recording_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    turns: Mapped[int] = mapped_column(Integer, default=0)
    learner_speech_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    median_silence_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    corrections: Mapped[int] = mapped_column(Integer, default=0)
    preview: Mapped[str] = mapped_column(Text, default="")


class ErasedUserRow(Base):
    """A user whose account was deleted: what comes late of theirs is stored no more."""

    __tablename__ = "erased_users"

    user_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(UtcDateTime)


class TurnRow(Base):
    """A finished turn. `occurred_at`, `event_id`: the event it is from; the latest one wins."""

    __tablename__ = "turns"
    __table_args__ = (UniqueConstraint("conversation_id", "number", name="uq_turns_number"),)

    turn_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    conversation_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("conversations.conversation_id"), index=True
    )
    number: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    event_id: Mapped[str] = mapped_column(_ID)
    learner_text: Mapped[str] = mapped_column(Text)
    tutor_text: Mapped[str] = mapped_column(Text)
    words: Mapped[int] = mapped_column(Integer)
    speech_ms: Mapped[int] = mapped_column(BigInteger)
    silence_ms: Mapped[int | None] = mapped_column(BigInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class FeedbackRow(Base):
    """What assessment found in a turn; it may come before the turn does."""

    __tablename__ = "feedback"

    conversation_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("conversations.conversation_id"), primary_key=True
    )
    turn_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    event_id: Mapped[str] = mapped_column(_ID)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class MistakeRow(Base):
    """One correction of a turn, so that the same mistake can be counted over conversations."""

    __tablename__ = "mistakes"
    __table_args__ = (Index("ix_mistakes_user", "user_id", "kind", "mistake_key"),)

    id: Mapped[int] = mapped_column(_ROWID, primary_key=True, autoincrement=True)
    conversation_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("conversations.conversation_id"), index=True
    )
    turn_id: Mapped[str] = mapped_column(_ID)
    user_id: Mapped[str] = mapped_column(_ID)
    kind: Mapped[int] = mapped_column(Integer)
    mistake_key: Mapped[str] = mapped_column(String(64))
    occurred_at: Mapped[datetime] = mapped_column(UtcDateTime)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class PracticeRow(Base):
    """What a learner did in one conversation within a quarter hour.

    It can be made again from `turns` and `mistakes`, and always says the same as those.

    quarter: which one, counted from the epoch. spoken_words: those of `words` that were not typed.
    silences: before the replies, in milliseconds, ascending; 32 bits each, little-endian.
    corrections: how many of each kind, as [number of the kind, how many].
    """

    __tablename__ = "practice"
    __table_args__ = (Index("ix_practice_user", "user_id", "quarter"),)

    conversation_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("conversations.conversation_id", ondelete="CASCADE"), primary_key=True
    )
    quarter: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    user_id: Mapped[str] = mapped_column(_ID)
    turns: Mapped[int] = mapped_column(Integer)
    words: Mapped[int] = mapped_column(Integer)
    spoken_words: Mapped[int] = mapped_column(Integer)
    speech_ms: Mapped[int] = mapped_column(BigInteger)
    silences: Mapped[bytes] = mapped_column(LargeBinary)
    corrections: Mapped[list[list[int]]] = mapped_column(JSON)


class SearchSegmentRow(Base):
    """A row of a learner's texts that the search index keeps together. `texts`: how many it has."""

    __tablename__ = "search_segments"
    __table_args__ = (Index("ix_search_segments_user", "user_id", "segment_id"),)

    segment_id: Mapped[int] = mapped_column(_ROWID, primary_key=True, autoincrement=True)
    user_id: Mapped[str] = mapped_column(_ID)
    texts: Mapped[int] = mapped_column(Integer)


class SearchTextRow(Base):
    """One side of a turn in the search index, which refers to it by `id`.

    segment_id: where in the index it lies; 0 for what an earlier version wrote, until `recount`.
    """

    __tablename__ = "search_texts"
    __table_args__ = (UniqueConstraint("turn_id", "tutor", name="uq_search_texts_side"),)

    id: Mapped[int] = mapped_column(_ROWID, primary_key=True, autoincrement=True)
    conversation_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("conversations.conversation_id"), index=True
    )
    turn_id: Mapped[str] = mapped_column(_ID, ForeignKey("turns.turn_id"))
    tutor: Mapped[bool] = mapped_column(Boolean)
    segment_id: Mapped[int] = mapped_column(BigInteger, server_default="0")


class OutboxRow(OutboxMixin, Base):
    """What the media service is to be told."""

    __tablename__ = "outbox"
