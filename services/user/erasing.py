"""Deleting an account: here at once, and everywhere else as soon as everybody could be told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Protocol

import structlog

from services.common.audit import AuditTrail
from services.common.call_context import Caller
from services.common.clock import Clock
from services.common.errors import NotFound, ParleyError, Unauthenticated
from services.common.going_on import going_on
from services.common.retrying import doubled, jittered, until_woken
from services.user.admission import locked
from services.user.proving import Proofs
from services.user.store import Store, Transaction

_log = structlog.get_logger(__name__)

# The wait after a failure, doubled after each further one up to the most.
_FIRST_BACKOFF_S = 1.0
_MAX_BACKOFF_S = 60.0

# What is left after a pass: a live talk that ends, an event on its way to history.
_AGAIN_S = 10.0

# How often to look without being told; a crash between commit and notify costs at most this.
_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Erasure:
    """A deleted account whose traces are still being removed; `attempts` failed in a row."""

    user_id: str
    requested_at: datetime
    attempts: int


class Erasures(Protocol):
    """Where it is kept whose traces are to be removed."""

    async def due(self, now: datetime) -> Sequence[Erasure]:
        """Return those that are to be tried now, some of them where they are many."""
        ...

    async def postpone(self, user_id: str, until: datetime, attempts: int) -> None:
        """Have one tried again later."""
        ...

    async def done(self, user_id: str) -> None:
        """Forget one: nothing is left."""
        ...


class Eraser(Protocol):
    """One service that keeps something of users."""

    async def erase(self, user_id: str) -> int:
        """Erase what the service has of a user; return how much it found or has left.

        Raises:
            ParleyError: it could not be done.
        """
        ...


class AccountDeletion:
    """What a learner asks for: the account goes, and everything else is on its way."""

    def __init__(
        self,
        store: Store,
        proofs: Proofs,
        clock: Clock,
        notify: Callable[[], None],
        audit: AuditTrail,
    ) -> None:
        self._store = store
        self._proofs = proofs
        self._clock = clock
        self._notify = notify
        self._audit = audit

    async def delete(self, caller: Caller, password: str) -> None:
        """Delete the caller's account, when the password is theirs.

        Raises:
            Unauthenticated: BAD_CREDENTIALS; SESSION_ENDED.
            NotFound: USER_NOT_FOUND, also when it was deleted by an earlier call.
            ResourceExhausted: TOO_MANY_ATTEMPTS.
        """
        found = await self._store.write(lambda work: locked(work, caller, self._clock.now()))
        checked = found.account.password_hash
        if not await self._proofs.of_the_signed_in(caller.user_id, password, checked):
            self._audit.note("account_deletion_refused", user_id=caller.user_id)
            raise Unauthenticated("The password is wrong.", reason="BAD_CREDENTIALS")

        def erase(work: Transaction) -> _Outcome:
            # Asked again: checking took long enough for another call to be quicker, for somebody
            # to end the session, and for the password to change.
            now = self._clock.now()
            try:
                found = locked(work, caller, now)
            except NotFound:
                return _Outcome.GONE
            if found.account.password_hash != checked:
                return _Outcome.ANOTHER_PASSWORD
            work.delete_account(caller.user_id, now)
            return _Outcome.DELETED

        outcome = await self._store.write(erase)
        if outcome is _Outcome.ANOTHER_PASSWORD:
            await self.delete(caller, password)
        elif outcome is _Outcome.DELETED:
            self._audit.note("account_deleted", user_id=caller.user_id)
            self._notify()


class _Outcome(Enum):
    """What became of an account whose password was right."""

    DELETED = auto()
    GONE = auto()
    ANOTHER_PASSWORD = auto()


class ErasureWorker:
    """Has every service erase what it keeps of deleted accounts, for as long as `run` runs.

    A service that is away is asked again until it answers. What was asked for once is looked for
    again when the last access token of the account has expired, since until then something new may
    have come; only a look at which no service finds anything ends it.
    """

    def __init__(
        self,
        erasures: Erasures,
        erasers: Mapping[str, Eraser],
        clock: Clock,
        tokens_live: timedelta,
        scrub: Callable[[], Awaitable[None]],
        audit: AuditTrail,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._erasures = erasures
        self._erasers = erasers
        self._clock = clock
        self._tokens_live = tokens_live
        self._scrub = scrub
        self._audit = audit
        self._jitter = jitter
        self._wake = asyncio.Event()

    def notify(self) -> None:
        """Say that an account was deleted: its traces are removed now."""
        self._wake.set()

    async def run(self) -> None:
        """Erase until cancelled. A database that is away is waited for."""
        while True:
            self._wake.clear()
            with going_on("erasures_unreadable"):
                await self.run_once()
            await until_woken(self._wake, self._clock, _POLL_S)

    async def run_once(self) -> None:
        """Try whatever is due."""
        for erasure in await self._erasures.due(self._clock.now()):
            await self._one(erasure)

    async def _one(self, erasure: Erasure) -> None:
        found, failed = 0, []
        # The account's own rows, which went when it was deleted.
        await self._scrub()
        # In this order: live talks end before what they said is looked for.
        for name, eraser in self._erasers.items():
            try:
                found += await eraser.erase(erasure.user_id)
            except ParleyError as error:
                failed.append(f"{name}: {error.reason}")
        now = self._clock.now()
        expired = erasure.requested_at + self._tokens_live
        if failed:
            attempts = erasure.attempts + 1
            wait = jittered(doubled(attempts, _FIRST_BACKOFF_S, _MAX_BACKOFF_S), self._jitter)
            _log.warning("erasure_failed", user_id=erasure.user_id, failed=failed, attempt=attempts)
            await self._erasures.postpone(erasure.user_id, now + timedelta(seconds=wait), attempts)
        elif found:
            await self._erasures.postpone(erasure.user_id, now + timedelta(seconds=_AGAIN_S), 0)
        elif now < expired:
            await self._erasures.postpone(erasure.user_id, expired, 0)
        else:
            await self._erasures.done(erasure.user_id)
            self._audit.note("account_erased", user_id=erasure.user_id)
