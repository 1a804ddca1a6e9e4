"""What the application asks of its storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from services.user.accounts import (
    Account,
    KnownRefreshToken,
    Preferences,
    Session,
    SignedInAccount,
    StoredRefreshToken,
)

T = TypeVar("T")


class UsernameTakenError(Exception):
    """Another account has this username."""


class Transaction(Protocol):
    """One unit of work over accounts, sessions and refresh tokens."""

    def signed_in(self, user_id: str, now: datetime) -> SignedInAccount | None:
        """Return the account with the sessions that could still be refreshed.

        The account is locked against other writers until the end.
        """
        ...

    def account_by_name(self, key: str) -> Account | None:
        """Return the account whose username compares equal to `key`."""
        ...

    def account_by_registration(self, registration_id: str) -> Account | None:
        """Return the account that was made with this request id."""
        ...

    def add_account(self, account: Account) -> None:
        """Add an account.

        Raises:
            UsernameTakenError: another has its username, or its registration id.
        """
        ...

    def set_password(self, user_id: str, password_hash: bytes) -> None:
        """Replace the account's password hash."""
        ...

    def set_preferences(self, user_id: str, preferences: Preferences) -> None:
        """Replace what the learner chose."""
        ...

    def delete_account(self, user_id: str, now: datetime) -> None:
        """Delete the account with its sessions, and have its traces elsewhere removed."""
        ...

    def add_session(self, session: Session) -> None:
        """Add a session."""
        ...

    def touch_session(self, session: Session, now: datetime, expires_at: datetime) -> None:
        """Note that the session was used, and when it now expires."""
        ...

    def end_sessions(self, sessions: Sequence[Session], now: datetime) -> int:
        """End those of the sessions that are live; return how many were."""
        ...

    def add_refresh_token(self, token: StoredRefreshToken) -> None:
        """Add a refresh token."""
        ...

    def drop_refresh_tokens(self, session_id: str) -> None:
        """Forget every refresh token of the session."""
        ...

    def prune(self, now: datetime) -> int:
        """Delete sessions that are over, and refresh tokens that could do nothing any more.

        Returns how many of both. What is left of a live session still tells a reused token.
        """
        ...

    def refresh_token(self, digest: bytes) -> KnownRefreshToken | None:
        """Return the refresh token and its session, ended or not.

        The account is locked against other writers until the end, as by all that write of it: who
        forgets the tokens of a session must not miss the one that is being made.
        """
        ...

    def use_refresh_token(self, digest: bytes, now: datetime) -> None:
        """Note that the refresh token was changed for its successor."""
        ...


class Store(Protocol):
    """Opens units of work, and answers the one question that is asked all the time."""

    async def signed_in(self, user_id: str, now: datetime) -> SignedInAccount | None:
        """Return the account with its live sessions, some of which may have expired by `now`.

        It is never older than the last transaction of this process; what another process wrote
        may be missing for as long as the store's settings say.
        """
        ...

    async def live_sessions(self, session_ids: Sequence[str], now: datetime) -> set[str]:
        """Return those of the sessions that somebody is signed in with. Never from memory."""
        ...

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Do a unit of work: commit when it returns, roll back when it raises.

        It is done in a thread: it may compute, and waits for nothing. It may be done twice, the
        first time in vain, so it leaves no trace but in the store.
        """
        ...
