"""Whether the session behind a call still is one: an access token outlives it by minutes."""

from __future__ import annotations

from datetime import datetime

from services.common.call_context import Caller
from services.common.errors import NotFound, Unauthenticated
from services.user.accounts import SignedInAccount
from services.user.store import Transaction


def admitted(found: SignedInAccount | None, caller: Caller, now: datetime) -> SignedInAccount:
    """Return the caller's account and sessions as they were found, when the caller's is among them.

    Raises:
        NotFound: USER_NOT_FOUND.
        Unauthenticated: SESSION_ENDED.
    """
    if found is None:
        raise NotFound("This account no longer exists.", reason="USER_NOT_FOUND")
    if not found.includes(caller.session_id, now):
        raise session_ended()
    return found


def locked(work: Transaction, caller: Caller, now: datetime) -> SignedInAccount:
    """Return the same for a caller who will write: nobody else does until `work` ends.

    Raises:
        NotFound: USER_NOT_FOUND.
        Unauthenticated: SESSION_ENDED.
    """
    return admitted(work.signed_in(caller.user_id, now), caller, now)


def session_ended() -> Unauthenticated:
    """Return what a call is refused with whose session was ended."""
    return Unauthenticated("This session was ended. Log in again.", reason="SESSION_ENDED")
