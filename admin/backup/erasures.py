"""What was deleted after a backup: what a restore brings back of it is erased again.

Accounts that are known to be deleted are noted in the copy of the user service's tables before it
is put in place, so that the restored Parley erases them as it would have: at its next start,
everywhere, until nothing is found. Single conversations and recordings are deleted in the copies
themselves; the restored Parley takes the files of those recordings away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Select, delete, insert, select, update
from sqlalchemy.orm import Session

from admin.backup.databases import url_of, writing
from admin.backup.trails import Deleted
from admin.schema import connected
from services.common.clock import SystemClock
from services.common.outbox import Outbox
from services.conversation.adapters.tables import ConversationRow as Talk
from services.conversation.adapters.tables import LearnerPaceRow
from services.conversation.adapters.tables import OutboxRow as TalkOutbox
from services.history.adapters.store import SqlWriter
from services.history.adapters.tables import ConversationRow
from services.history.adapters.tables import OutboxRow as HistoryOutbox
from services.media.adapters.tables import RecordingRow
from services.user.adapters.tables import ACCOUNTS, ERASURES, REFRESH_TOKENS, SESSIONS

# Who has something in a service; of what was deleted there the bare ids stay.
_OWNERS: Mapping[str, tuple[Select[str], ...]] = {
    "conversation": (select(Talk.user_id), select(LearnerPaceRow.user_id)),
    "history": (select(ConversationRow.user_id).where(ConversationRow.deleted_at.is_(None)),),
    "media": (select(RecordingRow.user_id).where(RecordingRow.deleted_at.is_(None)),),
}

_AT_ONCE = 500


def to_erase(copies: Mapping[str, Path], deleted: Collection[str]) -> set[str]:
    """Return those of whom the copies have something that nobody should have any more.

    deleted: accounts that were deleted since. Besides, whoever has talks, transcripts or recordings
    in the copies and no account: they registered while the backup was taken, after the accounts
    had been copied.
    """
    accounts: set[str] = set()
    owners: set[str] = set()
    for name, file in copies.items():
        with connected(url_of(file)) as connection:
            if name == "user":
                accounts = set(connection.scalars(select(ACCOUNTS.c.user_id)))
            for wanted in _OWNERS.get(name, ()):
                owners |= set(connection.scalars(wanted.distinct()))
    # A recording that was deleted before it began is nobody's.
    owners.discard("")
    return (owners - accounts) | ((owners | accounts) & set(deleted))


def have_erased(user_copy: Path, user_ids: Iterable[str], now: datetime) -> int:
    """Delete accounts in the copy, and note that the traces of all these users are to be removed.

    Returns how many accounts went.
    """
    wanted = sorted(user_ids)
    gone = 0
    with writing(user_copy) as connection:
        known = set(connection.scalars(select(ERASURES.c.user_id)))
        for some in _parts(wanted):
            gone += connection.execute(
                delete(ACCOUNTS).where(ACCOUNTS.c.user_id.in_(some))
            ).rowcount
            rows = [
                {"user_id": each, "requested_at": now, "attempts": 0, "next_attempt_at": now}
                for each in some
                if each not in known
            ]
            if rows:
                connection.execute(insert(ERASURES), rows)
    return gone


def sign_everybody_out(user_copy: Path) -> None:
    """End every sign-in in the copy: those that were ended after the backup are open in it."""
    with writing(user_copy) as connection:
        for table in (REFRESH_TOKENS, SESSIONS):
            connection.execute(delete(table))


def delete_again(copies: Mapping[str, Path], deleted: Deleted, now: datetime) -> int:
    """Delete these conversations and recordings in the copies; return how many there were.

    A conversation goes with all that is known of it, as when its learner deleted it; what is still
    on its way to history as well, or it would come back.
    """
    gone = 0
    if deleted.conversations:
        gone += _delete_talks(copies, sorted(deleted.conversations))
    if deleted.recordings and "media" in copies:
        gone += _delete_recordings(copies["media"], sorted(deleted.recordings), now)
    return gone


def _delete_talks(copies: Mapping[str, Path], wanted: Sequence[str]) -> int:
    if "conversation" in copies:
        with writing(copies["conversation"]) as connection:
            for some in _parts(wanted):
                connection.execute(delete(Talk).where(Talk.conversation_id.in_(some)))
                connection.execute(delete(TalkOutbox).where(TalkOutbox.aggregate_id.in_(some)))
    if "history" not in copies:
        return 0
    clock, row, gone = SystemClock(), ConversationRow, 0
    with writing(copies["history"]) as connection, Session(connection) as session:
        writer = SqlWriter(session, Outbox(HistoryOutbox, clock), clock)
        for some in _parts(wanted):
            there = select(row.conversation_id).where(
                row.conversation_id.in_(some), row.deleted_at.is_(None)
            )
            for conversation_id in session.scalars(there).all():
                recording_id = writer.erase(conversation_id)
                if recording_id:
                    writer.request_recording_deletion(recording_id)
                gone += 1
        # The connection's transaction is what commits.
        session.flush()
    return gone


def _delete_recordings(media_copy: Path, wanted: Sequence[str], now: datetime) -> int:
    gone = 0
    with writing(media_copy) as connection:
        for some in _parts(wanted):
            gone += connection.execute(
                update(RecordingRow)
                .where(RecordingRow.recording_id.in_(some), RecordingRow.deleted_at.is_(None))
                .values(deleted_at=now, waveform=b"", failure="", file_name="")
            ).rowcount
    return gone


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(ids), _AT_ONCE):
        yield ids[begin : begin + _AT_ONCE]
