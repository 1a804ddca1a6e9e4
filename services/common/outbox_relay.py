"""Sends what an outbox holds, for as long as the process runs.

Delivery is at least once and in order within an aggregate; receivers drop an event id they know.
What a receiver refuses for good is laid aside, a dead letter with its reason, and those after it go
on (`services.common.dead_letters`); so is what it fails with again and again, or ends of
(`services.common.doubts`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

import structlog

from services.common.clock import Clock
from services.common.database import Database
from services.common.doubts import Doubts, Fault, fault_of
from services.common.errors import ParleyError
from services.common.going_on import log_failure
from services.common.outbox import Outbox, OutboxEvent, OutboxMixin, Row
from services.common.outbox_backlog import Backlog
from services.common.refusals import EventsRefusedError
from services.common.retrying import doubled, jittered, until_woken

_log = structlog.get_logger(__name__)

Publish = Callable[[Sequence[OutboxEvent]], Awaitable[None]]
"""Sends events of one aggregate, in order; returning means the receiver has stored them all.

Where the policy says `together`, of several aggregates. `EventsRefusedError` names those that it
will never store.
"""


# Often enough that the table stays near what is kept, seldom enough to cost nothing.
_PRUNE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RelayPolicy:
    """How the relay paces itself.

    batch: most events sent in one call.
    concurrency: most aggregates sent at once.
    together: one call takes the events of several aggregates. What it refuses is sent again an
        aggregate at a time, so that one bad event holds up only its own.
    pause_seconds: how long after sending the next look is taken, so that what is written meanwhile
        goes together. The first event after a quiet time never waits.
    poll_seconds: how often to look without being told; a crash between commit and notify costs
        at most this.
    first_backoff_seconds, max_backoff_seconds: wait after the first failure, doubled after each
        further one up to the most; the real wait is drawn from the upper half of it.
    faults: so often an event may fail its receiver in a way that nobody foresaw, or end it.
    keep_published_seconds: rows of published events, without their payload, are kept this long,
        for looking into.
    """

    batch: int = 50
    concurrency: int = 8
    together: bool = False
    pause_seconds: float = 0.0
    poll_seconds: float = 5.0
    first_backoff_seconds: float = 0.2
    max_backoff_seconds: float = 30.0
    faults: int = 5
    keep_published_seconds: float = 86_400.0


_DEFAULT_POLICY = RelayPolicy()


class OutboxRelay(Generic[Row]):
    """Sends what the outbox holds, for as long as `run` runs.

    An aggregate whose event fails waits, with all that follows it; the others go on. An event that
    is at fault itself is laid aside after some tries. Cancelling `run` is safe at any point: an
    event in flight is sent again at the next start.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox[Row],
        publish: Publish,
        clock: Clock,
        policy: RelayPolicy = _DEFAULT_POLICY,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._backlog = Backlog(database, outbox.table, clock, policy.batch)
        self._publish = publish
        self._clock = clock
        self._policy = policy
        self._jitter = jitter
        self._wake = asyncio.Event()
        self._doubts = Doubts(policy.faults)

    def notify(self) -> None:
        """Say that an event was committed: it is sent now. Call it on the event loop."""
        self._wake.set()

    async def run(self) -> None:
        """Send events until cancelled, whatever fails. A database that is away is waited for."""
        failures = 0
        pruned_at = float("-inf")
        while True:
            self._wake.clear()
            try:
                sent = await self.run_once()
                if not sent and self._clock.monotonic() - pruned_at >= _PRUNE_SECONDS:
                    await self.prune()
                    pruned_at = self._clock.monotonic()
                failures = 0
                if sent and self._policy.pause_seconds:
                    await self._clock.sleep(self._policy.pause_seconds)
                # What came meanwhile is looked for at once, and so is what one round left.
                again = sent and (self._wake.is_set() or sent >= self._policy.batch)
                wait = 0.0 if again else await self._until_next()
            except Exception as error:  # noqa: BLE001 - whatever it is, the events are kept
                failures += 1
                wait = self._backoff(failures)
                log_failure("outbox_unreadable", error, retry_in_s=round(wait, 3))
            if wait > 0:
                await until_woken(self._wake, self._clock, wait)

    async def run_once(self) -> int:
        """Send one round of what is due; return how many events were sent."""
        batches = await self._backlog.due()
        if not batches:
            return 0
        sent = await self._send_undoubted([each for each in batches if not self._doubted(each)])
        # Also those that are doubted only now; what has ended the receiver before comes last.
        doubted = [each for each in batches if self._doubted(each)]
        doubted.sort(key=lambda rows: self._doubts.tries(rows[0].event_id))
        return sent + await self._send_doubted(doubted)

    async def pending(self) -> int:
        """Return how many events wait to be sent."""
        return await self._backlog.count()

    async def prune(self) -> int:
        """Delete events published longer ago than is kept; return how many."""
        return await self._backlog.prune(self._policy.keep_published_seconds)

    def _doubted(self, rows: Sequence[Row]) -> bool:
        return rows[0].event_id in self._doubts

    async def _send_undoubted(self, batches: Sequence[Sequence[Row]]) -> int:
        if self._policy.together and len(batches) > 1:
            together = await self._send_together(batches)
            if together is not None:
                return together
        places = asyncio.Semaphore(self._policy.concurrency)

        failures: list[Exception] = []

        async def one(rows: Sequence[Row]) -> int:
            async with places:
                try:
                    return await self._send(rows)
                except Exception as error:  # noqa: BLE001 - raised below
                    # Out of the group, which would cancel the others in their transactions.
                    failures.append(error)
                    return 0

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(rows)) for rows in batches]
        if failures:
            raise failures[0]
        return sum(task.result() for task in tasks)

    async def _send(self, rows: Sequence[Row]) -> int:
        try:
            await self._publish(_events(rows))
        except EventsRefusedError as error:
            return await self._sent_but(rows, error.refusals)
        except Exception as error:  # noqa: BLE001 - whatever it is, the event must be sent again
            if fault_of(error) is Fault.NOT_NOW:
                await self._failed(rows[:1], error)
            else:
                self._doubt(rows, error)
            return 0
        return await self._sent(rows)

    async def _send_together(self, batches: Sequence[Sequence[Row]]) -> int | None:
        """Send the events of several aggregates in one call; None: they are to be sent singly."""
        rows = [row for batch in batches for row in batch][: self._policy.batch]
        try:
            await self._publish(_events(rows))
        except EventsRefusedError as error:
            return await self._sent_but(rows, error.refusals)
        except Exception as error:  # noqa: BLE001 - whose fault it is, sending them singly tells
            if fault_of(error) is not Fault.NOT_NOW:
                self._doubt(rows, error)
                return 0
            _log.info("outbox_sends_singly", events=len(rows), error=_name(error))
            return None
        return await self._sent(rows)

    def _doubt(self, rows: Sequence[Row], error: Exception) -> None:
        _log.info("outbox_events_doubted", events=len(rows), error=_name(error))
        self._doubts.add(row.event_id for row in rows)

    async def _send_doubted(self, batches: Sequence[Sequence[Row]]) -> int:
        """Send doubted events one by one, with nothing beside them; return how many were sent."""
        sent = 0
        for place, rows in enumerate(batches):
            for row in rows:
                # Those behind the last that is doubted go together again.
                if row.event_id not in self._doubts:
                    break
                error = await self._send_alone(row)
                if error is None:
                    sent += 1
                    continue
                if fault_of(error) is Fault.EVENTS:
                    await self._failed([row], error)
                    break
                # The receiver is gone: what is left waits as long as this one.
                await self._failed([row, *(each[0] for each in batches[place + 1 :])], error)
                return sent
        return sent

    async def _send_alone(self, row: Row) -> Exception | None:
        """Send one event; return what it failed with, None where it is sent or laid aside."""
        try:
            await self._publish(_events([row]))
        except EventsRefusedError as error:
            await self._sent_but([row], error.refusals)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            why = self._doubts.blame(row.event_id, error)
            if not why:
                return error
            await self._sent_but([row], {row.event_id: why})
        else:
            await self._sent([row])
        return None

    async def _sent(self, rows: Sequence[Row]) -> int:
        """Note `rows` as published; return how many they are."""
        self._doubts.settle(row.event_id for row in rows)
        await self._backlog.note_sent(rows)
        return len(rows)

    async def _sent_but(self, rows: Sequence[Row], refusals: Mapping[str, str]) -> int:
        """Note the refused of `rows` as dead letters and the others as published."""
        for row in rows:
            if row.event_id not in refusals:
                continue
            _log.error(
                "outbox_event_refused",
                aggregate_id=row.aggregate_id,
                event_id=row.event_id,
                type=row.type,
                refusal=refusals[row.event_id],
            )
            await self._backlog.note_refused(row, refusals[row.event_id])
        self._doubts.settle(refusals)
        sent = [row for row in rows if row.event_id not in refusals]
        if sent:
            await self._sent(sent)
        return len(rows)

    async def _failed(self, heads: Sequence[Row], error: Exception) -> None:
        """Have these wait, for the first of them could not be sent."""
        head = heads[0]
        attempts = head.attempts + 1
        wait = self._backoff(attempts)
        if isinstance(error, ParleyError) and error.retry_after is not None:
            wait = max(wait, min(error.retry_after, self._policy.max_backoff_seconds))
        _log.warning(
            "outbox_publish_failed",
            aggregate_id=head.aggregate_id,
            event_id=head.event_id,
            attempts=attempts,
            retry_in_s=round(wait, 3),
            error=_name(error),
        )
        await self._backlog.put_off(heads, wait)

    async def _until_next(self) -> float:
        """Return the seconds until the next retry is due, at most the polling interval."""
        soonest = await self._backlog.next_due()
        if soonest is None:
            return self._policy.poll_seconds
        until = (soonest - self._clock.now()).total_seconds()
        return min(max(until, 0.0), self._policy.poll_seconds)

    def _backoff(self, attempts: int) -> float:
        policy = self._policy
        most = doubled(attempts, policy.first_backoff_seconds, policy.max_backoff_seconds)
        return jittered(most, self._jitter)


def _name(error: Exception) -> str:
    return error.reason if isinstance(error, ParleyError) else type(error).__name__


def _events(rows: Sequence[OutboxMixin]) -> list[OutboxEvent]:
    return [
        OutboxEvent(row.aggregate_id, row.type, row.payload, row.event_id, row.sequence)
        for row in rows
    ]
