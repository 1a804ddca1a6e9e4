"""Accounts, sessions and refresh tokens in SQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.common.database import Database
from services.user.accounts import (
    Account,
    Preferences,
    Profile,
    Session,
    StoredRefreshToken,
    TurnTaking,
    Username,
)
from services.user.adapters.tables import AccountRow, RefreshTokenRow, SessionRow
from services.user.store import UsernameTakenError


class SqlStore:
    """`services.user.store.Store` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlTransaction]:
        """Open a unit of work."""
        async with self._database.transaction() as session:
            yield SqlTransaction(session)


class SqlTransaction:
    """`services.user.store.Transaction` over one session; see there for what each promises."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def account(self, user_id: str) -> Account | None:
        """Return the account, locked."""
        return await self._account(select(AccountRow).where(AccountRow.user_id == user_id))

    async def account_by_name(self, key: str) -> Account | None:
        """Return the account of this name."""
        return await self._account(select(AccountRow).where(AccountRow.username_key == key))

    async def account_by_registration(self, registration_id: str) -> Account | None:
        """Return the account made with this request id."""
        query = select(AccountRow).where(AccountRow.registration_id == registration_id)
        return await self._account(query)

    async def add_account(self, account: Account) -> None:
        """Add an account, or raise `UsernameTakenError`."""
        row = AccountRow(
            user_id=account.user_id,
            username=account.username.shown,
            username_key=account.username.key,
            password_hash=account.password_hash,
            created_at=account.created_at,
            registration_id=account.registration_id or None,
            preferences=asdict(account.preferences),
        )
        self._session.add(row)
        try:
            await self._session.flush()
        except IntegrityError as error:
            raise UsernameTakenError from error

    async def set_password(self, user_id: str, password_hash: bytes) -> None:
        """Replace the password hash."""
        await self._session.execute(
            update(AccountRow)
            .where(AccountRow.user_id == user_id)
            .values(password_hash=password_hash)
        )

    async def set_preferences(self, user_id: str, preferences: Preferences) -> None:
        """Replace the preferences."""
        await self._session.execute(
            update(AccountRow)
            .where(AccountRow.user_id == user_id)
            .values(preferences=asdict(preferences))
        )

    async def add_session(self, session: Session) -> None:
        """Add a session."""
        self._session.add(SessionRow(**asdict(session)))
        await self._session.flush()

    async def session(self, session_id: str) -> Session | None:
        """Return the session."""
        query = select(SessionRow).where(SessionRow.session_id == session_id)
        row = await self._session.scalar(query)
        return None if row is None else _session(row)

    async def live_sessions(self, user_id: str, now: datetime) -> list[Session]:
        """Return the user's live sessions, newest first."""
        rows = await self._session.scalars(
            select(SessionRow)
            .where(SessionRow.user_id == user_id)
            .where(SessionRow.ended_at.is_(None), SessionRow.expires_at > now)
            # Ids are made in order of time too, and tell two of one instant apart.
            .order_by(SessionRow.created_at.desc(), SessionRow.session_id.desc())
        )
        return [_session(row) for row in rows]

    async def touch_session(self, session_id: str, now: datetime, expires_at: datetime) -> None:
        """Note the session's use."""
        await self._session.execute(
            update(SessionRow)
            .where(SessionRow.session_id == session_id)
            .values(last_used_at=now, expires_at=expires_at)
        )

    async def end_sessions(self, session_ids: list[str], now: datetime) -> int:
        """End the live ones among the sessions."""
        done: Any = await self._session.execute(
            update(SessionRow)
            .where(SessionRow.session_id.in_(session_ids), SessionRow.ended_at.is_(None))
            .values(ended_at=now)
        )
        return int(done.rowcount)

    async def add_refresh_token(self, token: StoredRefreshToken) -> None:
        """Add a refresh token."""
        self._session.add(RefreshTokenRow(**asdict(token)))
        await self._session.flush()

    async def drop_refresh_tokens(self, session_id: str) -> None:
        """Forget the session's refresh tokens."""
        await self._session.execute(
            delete(RefreshTokenRow).where(RefreshTokenRow.session_id == session_id)
        )

    async def refresh_token(self, digest: bytes) -> StoredRefreshToken | None:
        """Return the refresh token, locked."""
        query = select(RefreshTokenRow).where(RefreshTokenRow.digest == digest).with_for_update()
        row = await self._session.scalar(query)
        if row is None:
            return None
        return StoredRefreshToken(
            row.digest, row.session_id, row.issued_at, row.expires_at, row.used_at
        )

    async def use_refresh_token(self, digest: bytes, now: datetime) -> None:
        """Note the token's use."""
        await self._session.execute(
            update(RefreshTokenRow).where(RefreshTokenRow.digest == digest).values(used_at=now)
        )

    async def _account(self, query: Any) -> Account | None:
        # FOR UPDATE is left out on SQLite, whose transactions run one at a time anyway.
        found = query.with_for_update().execution_options(populate_existing=True)
        row = await self._session.scalar(found)
        return None if row is None else _account(row)


def _account(row: AccountRow) -> Account:
    return Account(
        user_id=row.user_id,
        username=Username(row.username, row.username_key),
        password_hash=row.password_hash,
        created_at=row.created_at,
        preferences=_preferences(row.preferences),
        registration_id=row.registration_id or "",
    )


def _preferences(stored: dict[str, Any]) -> Preferences:
    profile = dict(stored["profile"])
    for listed in ("interests", "goals"):
        profile[listed] = tuple(profile[listed])
    return Preferences(Profile(**profile), TurnTaking(**stored["turn_taking"]), stored["voice"])


def _session(row: SessionRow) -> Session:
    return Session(
        row.session_id,
        row.user_id,
        row.device_name,
        row.created_at,
        row.last_used_at,
        row.expires_at,
        row.ended_at,
    )
