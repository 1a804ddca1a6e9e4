"""The tables of this service: what resuming needs, and what is on its way to history."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.common.outbox import OutboxMixin
from services.common.timestamps import UtcDateTime


class Base(DeclarativeBase):
    """The schema. Constraints are named, so that revisions can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class ConversationRow(Base):
    """A conversation: how it was started, so that another process can go on with it.

    start: the serialized StartSession. handle_hash: SHA-256 of the resume handle's secret.
    """

    __tablename__ = "conversations"

    conversation_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(36), index=True)
    handle_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    start: Mapped[bytes] = mapped_column(LargeBinary)
    engine: Mapped[str] = mapped_column(String(100))
    voice: Mapped[str] = mapped_column(String(100))
    scenario_id: Mapped[str] = mapped_column(String(64))
    input_rate_hz: Mapped[int] = mapped_column(Integer)
    output_rate_hz: Mapped[int] = mapped_column(Integer)
    recording_id: Mapped[str] = mapped_column(String(36))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None, index=True)


class TurnRow(Base):
    """A finished turn: the serialized Turn.

    accounted_ms: the learner's audio up to here, on the session's time line, needs no hearing
        again once this turn is stored; accounted_seq: nor do the messages up to this number.
    """

    __tablename__ = "turns"
    __table_args__ = (UniqueConstraint("conversation_id", "number"),)

    turn_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.conversation_id", ondelete="CASCADE"), index=True
    )
    number: Mapped[int] = mapped_column(Integer)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    accounted_ms: Mapped[int] = mapped_column(Integer, server_default="0")
    accounted_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")


class KeptTurnRow(Base):
    """The turn under way in a conversation, as it was kept last: the serialized Turn.

    It stays when the turn is finished; the turn's number tells which of the two counts.
    """

    __tablename__ = "kept_turns"

    conversation_id: Mapped[str] = mapped_column(
        ForeignKey("conversations.conversation_id", ondelete="CASCADE"), primary_key=True
    )
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    accounted_ms: Mapped[int] = mapped_column(Integer)
    accounted_seq: Mapped[int] = mapped_column(BigInteger)
    typical_pause_ms: Mapped[int] = mapped_column(Integer)


class LearnerPaceRow(Base):
    """How long a learner pauses inside a turn, as estimated up to the last turn."""

    __tablename__ = "learner_pace"

    user_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    typical_pause_ms: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class OutboxRow(OutboxMixin, Base):
    """Events on their way to history."""

    __tablename__ = "outbox"
