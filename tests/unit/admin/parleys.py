"""Makes a Parley's data as its services leave it, and tells two of them apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    insert,
    select,
    update,
)
from sqlalchemy.types import TypeDecorator

from admin.installation import Installation, Keeper
from admin.schema import bring_forward, connected
from services.conversation.adapters.tables import ConversationRow as Talk
from services.history.adapters.tables import ConversationRow
from services.media.adapters.tables import RecordingRow, TrackRow
from services.user.adapters.tables import ACCOUNTS, REFRESH_TOKENS, SESSIONS
from services.user.keys import SigningKeys

ANNA, BEN = "0190-anna", "0190-ben"
MORNING = datetime(2026, 3, 4, 5, 6, 7, 891_234, tzinfo=UTC)
SAID = b"\x00\xfffLaC" * 1000


@dataclass(frozen=True, slots=True)
class Parley:
    """A Parley and where its recordings are."""

    installation: Installation

    @property
    def root(self) -> Path:
        return self.installation.folder.root

    def original(self, recording_id: str, track: str = "learner") -> Path:
        return self.root / "media" / "objects" / "recordings" / recording_id / f"{track}.flac"

    def spool(self, recording_id: str) -> Path:
        return self.root / "media" / "spool" / recording_id

    def rows(self, service: str) -> dict[str, list[dict[str, Any]]]:
        """Return every row of every table of a service."""
        keeper = self.installation.keeper(service)
        with connected(keeper.url) as connection:
            return all_rows(connection, keeper.metadata)

    def all_rows(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        return {each.name: self.rows(each.name) for each in self.installation.keepers}

    def put(self, service: str, table: Any, *rows: dict[str, Any]) -> None:
        with connected(self.installation.keeper(service).url) as connection:
            connection.execute(insert(table), list(rows))
            connection.commit()

    def change(self, service: str, table: Any, where: Any, **values: Any) -> None:
        with connected(self.installation.keeper(service).url) as connection:
            connection.execute(update(table).where(where).values(**values))
            connection.commit()


def all_rows(connection: Connection, metadata: MetaData) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for table in metadata.sorted_tables:
        rows = connection.execute(select(table).order_by(*table.primary_key.columns))
        found[table.name] = [dict(row) for row in rows.mappings()]
    return found


def filled(installation: Installation) -> Parley:
    """Make the data of two learners; Ben's second recording is still being made."""
    parley = Parley(installation)
    for keeper in installation.keepers:
        bring_forward(keeper)
    SigningKeys.open(installation.user.keys_dir)
    parley.put("user", ACCOUNTS, account(ANNA), account(BEN))
    parley.put("user", SESSIONS, session("sign-in", ANNA))
    parley.put("user", REFRESH_TOKENS, token(b"\x01" * 32, "sign-in"))
    parley.put("conversation", Talk.__table__, talk("talk-anna", ANNA))
    for who, name in ((ANNA, "anna"), (BEN, "ben")):
        parley.put("history", ConversationRow.__table__, conversation(f"talk-{name}", who))
        record(parley, f"rec-{name}", who)
    parley.put("media", RecordingRow.__table__, recording("rec-live", BEN, "recording"))
    parley.put("media", TrackRow.__table__, {**track("rec-live"), "size_bytes": 0})
    spool = parley.spool("rec-live")
    spool.mkdir(parents=True)
    (spool / "learner.pcm").write_bytes(b"\x01\x02" * 500)
    return parley


def record(parley: Parley, recording_id: str, user_id: str) -> None:
    """Make a complete recording of one track."""
    parley.put("media", RecordingRow.__table__, recording(recording_id, user_id, "ready"))
    parley.put("media", TrackRow.__table__, track(recording_id))
    path = parley.original(recording_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(SAID)


def account(user_id: str) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "username": user_id.upper(),
        "username_key": user_id,
        "password_hash": hashlib.sha256(user_id.encode()).digest(),
        "created_at": MORNING,
        "registration_id": None,
        "preferences": {"profile": {"native": "český"}, "voice": ""},
    }


def session(session_id: str, user_id: str) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "user_id": user_id,
        "device_name": "a phone",
        "created_at": MORNING,
        "last_used_at": MORNING,
        "expires_at": MORNING + timedelta(days=3650),
        "ended_at": None,
    }


def token(digest: bytes, session_id: str) -> dict[str, Any]:
    return {
        "digest": digest,
        "session_id": session_id,
        "issued_at": MORNING,
        "expires_at": MORNING + timedelta(days=3650),
        "used_at": None,
    }


def talk(conversation_id: str, user_id: str) -> dict[str, Any]:
    return {
        "conversation_id": conversation_id,
        "user_id": user_id,
        "handle_hash": b"h" * 32,
        "start": b"\x00start",
        "engine": "scripted",
        "voice": "",
        "scenario_id": "",
        "input_rate_hz": 16_000,
        "output_rate_hz": 24_000,
        "recording_id": "",
        "started_at": MORNING,
        "ended_at": None,
    }


def conversation(conversation_id: str, user_id: str, at: datetime = MORNING) -> dict[str, Any]:
    return {"conversation_id": conversation_id, "user_id": user_id, "sort_at": at}


def recording(recording_id: str, user_id: str, state: str) -> dict[str, Any]:
    return {
        "recording_id": recording_id,
        "conversation_id": "",
        "user_id": user_id,
        "state": state,
        "started_at": MORNING,
        "touched_at": MORNING,
        "waveform": b"\x00\x80\xff",
    }


def track(recording_id: str) -> dict[str, Any]:
    return {
        "recording_id": recording_id,
        "track": 1,
        "rate_hz": 16_000,
        "samples": 500,
        "size_bytes": len(SAID),
        "sha256": "0" * 64,
        "peak": 3,
    }


def fill_every_column(keeper: Keeper, rows: int = 3) -> None:
    """Put rows into every table that a service has, with something in every column."""
    with connected(keeper.url) as connection:
        for table in keeper.metadata.sorted_tables:
            connection.execute(insert(table), [_row(table, number) for number in range(rows)])
        connection.commit()


def _row(table: Table, number: int) -> dict[str, Any]:
    return {
        column.name: _value(table, column, number)
        for column in table.columns
        if column.computed is None
    }


def _value(table: Table, column: Any, number: int) -> Any:
    for key in column.foreign_keys:
        return _value(key.column.table, key.column, number)
    if column.nullable and number == 0:
        return None
    kind = column.type.impl if isinstance(column.type, TypeDecorator) else column.type
    if isinstance(kind, Boolean):
        return bool(number % 2)
    if isinstance(kind, Integer):
        return number + 7
    if isinstance(kind, Float):
        return number / 3
    if isinstance(kind, DateTime):
        return MORNING + timedelta(days=number, microseconds=number)
    if isinstance(kind, LargeBinary):
        return bytes([number, 0, 255]) * 3
    if isinstance(kind, JSON):
        return {"numbers": [number, 1.5, None], "text": "ě\n"}
    assert isinstance(kind, String), f"what stands in {column} is not known here"
    return f"ž{table.name[:6]}{column.name[:6]}{number}"[: getattr(kind, "length", None) or 200]
