"""Events by way of a Redis stream: how they are sent, and how it is known that they arrived.

    sender's outbox -> publish -> stream "parley:events:<to>" -> consumer -> its database
         ^                                                                        |
         +-------- list "parley:replies:<sender>" <- stored, or refused and why --+

An event is in the stream only until the receiver has stored it: then it is taken out, and the
sender told. A sender that is not told in time calls the receiver instead, whatever became of the
stream, and tries both again while that fails: its outbox is where the event is kept. So an event
may come twice, and a receiver knows it by its id.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from services.common.clock import Clock
from services.common.errors import ParleyError, Unavailable
from services.common.going_on import log_failure
from services.common.ids import new_id
from services.common.outbox import OutboxEvent
from services.common.outbox_relay import Publish
from services.common.redis.connection import PREFIX, Redis, answered
from services.common.refusals import EventsRefusedError, send_each
from services.common.retrying import doubled

_log = structlog.get_logger(__name__)

# Full policy: the oldest entry goes. Its sender hears nothing of it, and sends it again.
_MOST_ENTRIES = 20_000
_MOST_DEAD = 1_000
# A consumer that was not heard of for so long, and holds nothing, was killed.
_DEAD_CONSUMER_MS = 3_600_000
# Letters, digits and what stands between them: in a log, and before the first space of a reply.
_AN_ID = re.compile(rb"[!-~]{1,64}")
# Replies to a sender that died are nobody's.
_REPLIES_KEPT_MS = 60_000

EVENT, PAYLOAD, REPLY, WHY = b"event", b"payload", b"reply", b"why"
"""An entry's fields: the event's id, its payload, the sender's list; why it was laid aside."""


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """How the two ends pace themselves.

    stored_seconds: how long a sender waits to be told.
    waiting_seconds: how long a call waits for something to come, less than `answered` does.
    batch: most entries taken at once.
    abandoned_seconds: an entry that a consumer took so long ago, without a word, is another's.
    deliveries: an entry that was taken so often, and each time ended its consumer, is refused.
    attempts: tries of an entry that the receiver fails with in no foreseen way.
    first_backoff_seconds, max_backoff_seconds: between tries while something is away, doubled.
    """

    stored_seconds: float = 10.0
    waiting_seconds: float = 1.0
    batch: int = 64
    abandoned_seconds: float = 30.0
    deliveries: int = 5
    attempts: int = 5
    first_backoff_seconds: float = 0.2
    max_backoff_seconds: float = 5.0

    def backoff(self, failures: int) -> float:
        """Return how long to wait after `failures` in a row."""
        return doubled(failures, self.first_backoff_seconds, self.max_backoff_seconds)


_DEFAULT_POLICY = StreamPolicy()


def stream_of(service: str) -> str:
    """Return the key of the events to `service`."""
    return f"{PREFIX}events:{service}"


def dead_letters_of(service: str) -> str:
    """Return the key of what came to `service` and can be nobody's event."""
    return f"{stream_of(service)}:dead"


class StreamPublisher:
    """Sends events to a service. `run` must run beside `publish`, for it hears what became of them.

    directly: another way, for what Redis does not carry.
    """

    def __init__(
        self,
        redis: Redis,
        to: str,
        clock: Clock,
        directly: Publish,
        policy: StreamPolicy = _DEFAULT_POLICY,
    ) -> None:
        self._redis = redis
        self._stream = stream_of(to)
        self._replies = f"{PREFIX}replies:{new_id()}"
        self._clock = clock
        self._directly = directly
        self._policy = policy
        self._waiting: dict[str, asyncio.Future[str]] = {}

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        """Send `events`; returning means that the receiver has stored them all.

        What nothing is heard of in time, or Redis does not take, goes the other way: it may have
        been lost with all that Redis had, or nobody reads there.

        Raises:
            EventsRefusedError: it never will store some; it has stored the others.
            ParleyError: what the other way fails with; the events are to be sent again.
        """
        loop = asyncio.get_running_loop()
        answers = {event.event_id: loop.create_future() for event in events}
        self._waiting |= answers
        try:
            with suppress(Unavailable):
                await self._add(events)
                await asyncio.wait(answers.values(), timeout=self._policy.stored_seconds)
        finally:
            for event_id in answers:
                self._waiting.pop(event_id, None)
        heard = {event_id: each.result() for event_id, each in answers.items() if each.done()}
        refusals = {event_id: why for event_id, why in heard.items() if why}
        unheard = [event for event in events if event.event_id not in heard]
        if unheard:
            try:
                await self._directly(unheard)
            except EventsRefusedError as error:
                refusals |= error.refusals
        if refusals:
            raise EventsRefusedError(refusals)

    async def run(self) -> None:
        """Hear what became of the events, until cancelled."""
        failures = 0
        while True:
            try:
                waiting = self._redis.blpop([self._replies], timeout=self._policy.waiting_seconds)
                reply = await answered(waiting)
                failures = 0
            except Unavailable:
                failures += 1
                await self._clock.sleep(self._policy.backoff(failures))
                continue
            if reply is not None:
                event_id, _, why = reply[1].decode(errors="replace").partition(" ")
                answer = self._waiting.get(event_id)
                # Of one that was sent twice, and of one that nobody waits for any more.
                if answer is not None and not answer.done():
                    answer.set_result(why)

    async def _add(self, events: Sequence[OutboxEvent]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                fields: Any = {
                    EVENT: event.event_id,
                    PAYLOAD: event.payload,
                    REPLY: self._replies,
                }
                pipe.xadd(self._stream, fields, maxlen=_MOST_ENTRIES, approximate=True)
            await answered(pipe.execute())


Handle = Callable[[Sequence[bytes]], Awaitable[None]]
"""Stores the events whose payloads these are, all or none; knows those again that it has.

A `ParleyError` with a reason of `services.common.refusals.FOR_GOOD` refuses them.
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    place: bytes
    event_id: str
    payload: bytes
    reply: bytes


class StreamConsumer:
    """Takes the events to a service and has them stored. Several may run, each takes its share."""

    def __init__(
        self,
        redis: Redis,
        service: str,
        handle: Handle,
        clock: Clock,
        policy: StreamPolicy = _DEFAULT_POLICY,
    ) -> None:
        self._redis = redis
        self._group = service
        self._stream = stream_of(service)
        self._dead = dead_letters_of(service)
        self._name = new_id()
        self._handle = handle
        self._clock = clock
        self._policy = policy

    async def run(self) -> None:
        """Take events until cancelled, which is safe at any point, whatever fails.

        A Redis that is away is waited for.
        """
        failures = 0
        with suppress(Unavailable):
            await self._forget_the_dead()
        while True:
            try:
                await self.run_once()
                failures = 0
                continue
            except Unavailable as error:
                failures += 1
                if failures == 1:
                    _log.warning("events_not_read", error=type(error.__cause__).__name__)
            except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
                failures += 1
                log_failure("events_not_read", error)
            await self._clock.sleep(self._policy.backoff(failures))

    async def run_once(self) -> int:
        """Take what there is, waiting for it a moment; return how many entries that was.

        Raises:
            Unavailable: PEER_UNAVAILABLE, Redis does not answer.
        """
        try:
            raw = await self._abandoned() or await self._new()
        except Unavailable as error:
            if "NOGROUP" not in str(error.__cause__):
                raise
            # The first start, or somebody emptied Redis.
            await self._make_group()
            return 0
        if not raw:
            return 0
        entries = [entry for each in raw if (entry := await self._understood(*each)) is not None]
        if entries:
            await self._store(entries)
        return len(raw)

    async def _make_group(self) -> None:
        making = self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        try:
            await answered(making)
        except Unavailable as error:
            if "BUSYGROUP" not in str(error.__cause__):
                raise

    async def _forget_the_dead(self) -> None:
        """Take consumers out of the group that were killed: each start makes a new one."""
        for each in await answered(self._redis.xinfo_consumers(self._stream, self._group)):
            if not each["pending"] and each["idle"] > _DEAD_CONSUMER_MS:
                name = each["name"]
                await answered(self._redis.xgroup_delconsumer(self._stream, self._group, name))

    async def _new(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        reading = self._redis.xreadgroup(
            self._group,
            self._name,
            {self._stream: ">"},
            count=self._policy.batch,
            block=round(self._policy.waiting_seconds * 1000),
        )
        found = await answered(reading)
        return list(found[0][1]) if found else []

    async def _abandoned(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Take over what another consumer took and never spoke of again."""
        idle_ms = round(self._policy.abandoned_seconds * 1000)
        looking = self._redis.xpending_range(
            self._stream, self._group, "-", "+", self._policy.batch, idle=idle_ms
        )
        pending = await answered(looking)
        if not pending:
            return []
        deliveries = {each["message_id"]: each["times_delivered"] for each in pending}
        claiming = self._redis.xclaim(
            self._stream, self._group, self._name, idle_ms, list(deliveries)
        )
        claimed = await answered(claiming)
        there = [each for each in claimed if each[0] is not None and each[1] is not None]
        taken = []
        for place, fields in there:
            if deliveries[place] < self._policy.deliveries:
                taken.append((place, fields))
            elif (entry := await self._understood(place, fields)) is not None:
                why = f"taken {deliveries[place]} times, and never spoken of"
                await self._done([(entry, why)])
        return taken

    async def _understood(self, place: bytes, fields: dict[bytes, bytes]) -> _Entry | None:
        """Return what an entry says; None where it is no event: then it is laid aside."""
        missing = {EVENT, PAYLOAD, REPLY} - fields.keys()
        if missing:
            why = f"it has no {', '.join(sorted(each.decode() for each in missing))}"
        elif not _AN_ID.fullmatch(fields[EVENT]):
            # A reply begins with it: nobody could be told.
            why = "its event's id is none"
        else:
            event_id = fields[EVENT].decode()
            return _Entry(place, event_id, fields[PAYLOAD], fields[REPLY])
        _log.warning("entry_laid_aside", place=place.decode(), why=why)
        async with self._redis.pipeline(transaction=True) as pipe:
            aside: Any = {**fields, WHY: why}
            pipe.xadd(self._dead, aside, maxlen=_MOST_DEAD, approximate=True)
            pipe.xack(self._stream, self._group, place)
            pipe.xdel(self._stream, place)
            await answered(pipe.execute())
        return None

    async def _store(self, entries: Sequence[_Entry]) -> None:
        """Have `entries` stored, however long that takes, and tell their senders."""
        refusals: dict[int, str] | None = None
        failures = 0
        while refusals is None:
            try:
                refusals = await send_each([each.payload for each in entries], self._handle)
                continue
            except ParleyError as error:
                failures += 1
                reason = error.reason
            except Exception as error:  # noqa: BLE001 - whatever it is, the service goes on
                failures += 1
                reason = type(error).__name__
                if failures >= self._policy.attempts:
                    await self._store_singly(entries, reason)
                    return
            wait = self._policy.backoff(failures)
            _log.warning("events_not_stored", events=len(entries), error=reason, retry_in_s=wait)
            await self._clock.sleep(wait)
            await self._keep(entries)
        await self._done([(each, refusals.get(i, "")) for i, each in enumerate(entries)])

    async def _store_singly(self, entries: Sequence[_Entry], reason: str) -> None:
        """Something in `entries` fails in no foreseen way: find out which of them."""
        if len(entries) == 1:
            why = f"INTERNAL: {reason}, {self._policy.attempts} times"
            await self._done([(entries[0], why)])
            return
        for entry in entries:
            await self._store([entry])

    async def _keep(self, entries: Sequence[_Entry]) -> None:
        """Say that `entries` are not abandoned."""
        places: Any = [each.place for each in entries]
        await answered(
            self._redis.xclaim(self._stream, self._group, self._name, 0, places, justid=True)
        )

    async def _done(self, entries: Sequence[tuple[_Entry, str]]) -> None:
        """Take entries out of the stream, and tell their senders of each why it was refused."""
        async with self._redis.pipeline(transaction=True) as pipe:
            for entry, why in entries:
                if why:
                    _log.warning("event_refused", event_id=entry.event_id, why=why)
                pipe.rpush(entry.reply, f"{entry.event_id} {why}")
                pipe.pexpire(entry.reply, _REPLIES_KEPT_MS)
            places: Any = [entry.place for entry, _ in entries]
            pipe.xack(self._stream, self._group, *places)
            # It holds somebody's words, which stay nowhere but with the receiver.
            pipe.xdel(self._stream, *places)
            await answered(pipe.execute())
