"""Accounts, sessions and refresh tokens in SQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as SqlSession

from services.common.database import Database
from services.user.account_cache import AccountCache
from services.user.accounts import (
    Account,
    KnownRefreshToken,
    Preferences,
    Profile,
    Session,
    SignedInAccount,
    StoredRefreshToken,
    TurnTaking,
)
from services.user.adapters import statements
from services.user.store import UsernameTakenError
from services.user.usernames import Username

T = TypeVar("T")

_ACCOUNT_WIDTH = len(statements.ACCOUNT_COLUMNS)
_TOKEN_WIDTH = len(statements.TOKEN_COLUMNS)


class SqlStore:
    """`services.user.store.Store` over a database, with what was read last at hand."""

    def __init__(self, database: Database, cache: AccountCache) -> None:
        self._database = database
        self._cache = cache

    async def write(self, work: Callable[[SqlTransaction], T]) -> T:
        """Do a unit of work. See `store.Store`."""
        touched: set[str] = set()
        locks = not self._database.is_sqlite
        try:
            return await self._database.write_jointly(
                lambda session: work(SqlTransaction(session, touched, locks=locks))
            )
        finally:
            # However it ended: a commit that failed may have been done all the same.
            if touched:
                self._cache.forget(touched)

    async def signed_in(self, user_id: str, now: datetime) -> SignedInAccount | None:
        """Return the account with its sessions."""
        parameters = {"this_user": user_id, "now": now}

        def read(session: SqlSession) -> SignedInAccount | None:
            return _signed_in(session.execute(statements.SIGNED_IN, parameters).all())

        return await self._cache.get(user_id, lambda: self._database.read(read))

    async def live_sessions(self, session_ids: Sequence[str], now: datetime) -> set[str]:
        """Return those of the sessions that somebody is signed in with."""
        parameters = {"these_sessions": list(session_ids), "now": now}
        return await self._database.read(
            lambda session: set(session.execute(statements.LIVE_SESSIONS, parameters).scalars())
        )


class SqlTransaction:
    """`services.user.store.Transaction` over one session; see there for what each promises.

    touched: gets the ids of the users of whom anything was written.
    locks: whether others write at the same time. On SQLite nobody does.
    """

    def __init__(self, session: SqlSession, touched: set[str], *, locks: bool) -> None:
        self._session = session
        self._touched = touched
        self._locks = locks

    def signed_in(self, user_id: str, now: datetime) -> SignedInAccount | None:
        """Return the account, locked, with its live sessions."""
        parameters = {"this_user": user_id, "now": now}
        found = self._session.execute(statements.SIGNED_IN_LOCKED, parameters)
        return _signed_in(found.all())

    def account_by_name(self, key: str) -> Account | None:
        """Return the account of this name, locked."""
        found = self._session.execute(statements.ACCOUNT_BY_NAME, {"this_key": key})
        row = found.one_or_none()
        return None if row is None else _account(row)

    def account_by_registration(self, registration_id: str) -> Account | None:
        """Return the account made with this request id, locked."""
        parameters = {"this_registration": registration_id}
        found = self._session.execute(statements.ACCOUNT_BY_REGISTRATION, parameters)
        row = found.one_or_none()
        return None if row is None else _account(row)

    def add_account(self, account: Account) -> None:
        """Add an account, or raise `UsernameTakenError`."""
        self._touched.add(account.user_id)
        row = {
            "user_id": account.user_id,
            "username": account.username.shown,
            "username_key": account.username.key,
            "password_hash": account.password_hash,
            "created_at": account.created_at,
            "registration_id": account.registration_id or None,
            "preferences": _nested(account.preferences),
        }
        try:
            self._session.execute(statements.ADD_ACCOUNT, row)
        except IntegrityError as error:
            raise UsernameTakenError from error

    def set_password(self, user_id: str, password_hash: bytes) -> None:
        """Replace the password hash."""
        self._touched.add(user_id)
        self._session.execute(
            statements.SET_PASSWORD, {"this_user": user_id, "password_hash": password_hash}
        )

    def set_preferences(self, user_id: str, preferences: Preferences) -> None:
        """Replace the preferences."""
        self._touched.add(user_id)
        self._session.execute(
            statements.SET_PREFERENCES, {"this_user": user_id, "preferences": _nested(preferences)}
        )

    def delete_account(self, user_id: str, now: datetime) -> None:
        """Delete the account, and note that its traces elsewhere are to be removed."""
        self._touched.add(user_id)
        self._session.execute(statements.DELETE_ACCOUNT, {"this_user": user_id})
        row = {"user_id": user_id, "requested_at": now, "attempts": 0, "next_attempt_at": now}
        self._session.execute(statements.ADD_ERASURE, row)

    def add_session(self, session: Session) -> None:
        """Add a session."""
        self._touched.add(session.user_id)
        self._session.execute(statements.ADD_SESSION, _row(session))

    def touch_session(self, session: Session, now: datetime, expires_at: datetime) -> None:
        """Note the session's use."""
        self._touched.add(session.user_id)
        self._session.execute(
            statements.TOUCH_SESSION,
            {"this_session": session.session_id, "last_used_at": now, "expires_at": expires_at},
        )

    def end_sessions(self, sessions: Sequence[Session], now: datetime) -> int:
        """End the live ones among the sessions."""
        self._touched.update(each.user_id for each in sessions)
        ids = [each.session_id for each in sessions]
        done: Any = self._session.execute(
            statements.END_SESSIONS, {"these_sessions": ids, "ended_at": now}
        )
        return int(done.rowcount)

    def add_refresh_token(self, token: StoredRefreshToken) -> None:
        """Add a refresh token."""
        self._session.execute(statements.ADD_REFRESH_TOKEN, _row(token))

    def drop_refresh_tokens(self, session_id: str) -> None:
        """Forget the session's refresh tokens."""
        self._session.execute(statements.DROP_REFRESH_TOKENS, {"this_session": session_id})

    def prune(self, now: datetime) -> int:
        """Delete what is over."""
        # Nobody is touched: what is remembered of accounts holds live sessions alone.
        pruned = 0
        for statement in (statements.PRUNE_REFRESH_TOKENS, statements.PRUNE_SESSIONS):
            done: Any = self._session.execute(statement, {"now": now})
            pruned += int(done.rowcount)
        return pruned

    def refresh_token(self, digest: bytes) -> KnownRefreshToken | None:
        """Return the refresh token and its session, the account locked."""
        parameters = {"this_digest": digest}
        if self._locks:
            self._session.execute(statements.LOCK_ACCOUNT_OF_REFRESH_TOKEN, parameters)
        found = self._session.execute(statements.REFRESH_TOKEN, parameters)
        row: Sequence[Any] | None = found.one_or_none()
        if row is None:
            return None
        token, session = row[:_TOKEN_WIDTH], row[_TOKEN_WIDTH:-1]
        return KnownRefreshToken(StoredRefreshToken(*token), Session(*session), row[-1])

    def use_refresh_token(self, digest: bytes, now: datetime) -> None:
        """Note the token's use."""
        parameters = {"this_digest": digest, "used_at": now}
        self._session.execute(statements.USE_REFRESH_TOKEN, parameters)


def _row(
    value: Session | StoredRefreshToken | Preferences | Profile | TurnTaking,
) -> dict[str, Any]:
    """Return a value of which each field is a column."""
    # `asdict` would copy every one deeply.
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _nested(preferences: Preferences) -> dict[str, Any]:
    """Return preferences as they are stored: what has fields itself is an object in them."""
    # A third of what `asdict` takes, which copies every string.
    inner = {name: _row(getattr(preferences, name)) for name in ("profile", "turn_taking")}
    return _row(preferences) | inner


def _signed_in(rows: Sequence[Any]) -> SignedInAccount | None:
    if not rows:
        return None
    # Signed in nowhere: the join gives one row, without a session.
    sessions = (Session(*row[_ACCOUNT_WIDTH:]) for row in rows if row[_ACCOUNT_WIDTH] is not None)
    return SignedInAccount(_account(rows[0][:_ACCOUNT_WIDTH]), tuple(sessions))


def _account(values: Sequence[Any]) -> Account:
    user_id, shown, key, password_hash, created_at, preferences, registration_id = values
    return Account(
        user_id=user_id,
        username=Username(shown, key),
        password_hash=password_hash,
        created_at=created_at,
        preferences=_preferences(preferences),
        registration_id=registration_id or "",
    )


def _preferences(stored: dict[str, Any]) -> Preferences:
    profile = dict(stored["profile"])
    for listed in ("interests", "goals"):
        profile[listed] = tuple(profile[listed])
    return Preferences(Profile(**profile), TurnTaking(**stored["turn_taking"]), stored["voice"])
