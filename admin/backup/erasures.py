"""Deleted accounts: what a restore brings back of them is erased again.

A backup is older than what was deleted after it. What is known of that is put into the copy of the
user service's tables before it is put in place, so that the restored Parley erases those accounts
as it would have: at its next start, everywhere, until nothing is found.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path

from sqlalchemy import Select, delete, insert, select

from admin.backup.databases import url_of, writing
from admin.schema import connected
from services.conversation.adapters.tables import ConversationRow as Talk
from services.conversation.adapters.tables import LearnerPaceRow
from services.history.adapters.tables import ConversationRow
from services.media.adapters.tables import RecordingRow
from services.user.adapters.tables import ACCOUNTS, ERASURES, REFRESH_TOKENS, SESSIONS

_DELETED = "account_deleted"

# Who has something in a service; of what was deleted there the bare ids stay.
_OWNERS: Mapping[str, tuple[Select[str], ...]] = {
    "conversation": (select(Talk.user_id), select(LearnerPaceRow.user_id)),
    "history": (select(ConversationRow.user_id).where(ConversationRow.deleted_at.is_(None)),),
    "media": (select(RecordingRow.user_id).where(RecordingRow.deleted_at.is_(None)),),
}

_AT_ONCE = 500


def deleted_by_trail(folder: Path) -> set[str]:
    """Return the accounts that were deleted, by the trail of the user service in `folder`.

    A line that was cut off says nothing.
    """
    found = set()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text("utf-8", "replace").splitlines():
            if _DELETED not in line:
                continue
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.get("event") == _DELETED and isinstance(said.get("user_id"), str):
                found.add(said["user_id"])
    return found


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
        for begin in range(0, len(wanted), _AT_ONCE):
            some = wanted[begin : begin + _AT_ONCE]
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
