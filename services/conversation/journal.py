"""What must not be lost, on its way to storage: in order, retried, never in the talk's way.

    journal.submit(TurnFinished(...), done=session_is_told)

One writer for the process. What waits together is written together, so a busy process pays one
disk flush for many turns. Each entry is written in one transaction with the event that tells
history of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

import structlog

from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.types.v1 import feedback_pb2, turn_pb2
from services.common.clock import Clock
from services.common.errors import ParleyError, Unavailable
from services.common.ids import new_id
from services.common.limits import DEFAULT_LIMITS
from services.conversation.events import KeepTurn

_log = structlog.get_logger(__name__)

# Full policy, for one conversation: the session is ended (STORAGE_UNAVAILABLE), for what it would
# say next could not be kept.
MAX_PENDING = DEFAULT_LIMITS.unsaved_turns

# Written in one transaction at most: bounds how long others wait for SQLite's one writer.
_BATCH = 64

# A transaction under way for so long is none yet, whatever becomes of it: learners are told. Longer
# than a restart of the database, or a disk that is busy, takes.
_LATE_S = 10.0

_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class ConversationBegun:
    """A conversation begins; with all that is needed to go on with it in another process."""

    conversation_id: str
    user_id: str
    handle_hash: bytes = field(repr=False)
    start: conversation_pb2.StartSession
    engine: str
    voice: str
    scenario_id: str
    scenario_title: str
    input_rate_hz: int
    output_rate_hz: int
    recording_id: str
    at: datetime
    event_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """A turn is finished. `accounted_ms` and what follows are those of `SaveTurn`."""

    conversation_id: str
    user_id: str
    turn: turn_pb2.Turn
    at: datetime
    accounted_ms: int = 0
    typical_pause_ms: int = 0
    accounted_seq: int = 0
    event_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class TurnKept:
    """A turn under way, kept in case that this process dies. History is told nothing of it."""

    conversation_id: str
    kept: KeepTurn
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class TurnAssessed:
    """There is something to say of a turn that was stored before."""

    conversation_id: str
    user_id: str
    turn_id: str
    feedback: feedback_pb2.Feedback
    at: datetime
    event_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class RecordingKept:
    """The recording is complete."""

    conversation_id: str
    user_id: str
    recording_id: str
    duration_ms: int
    at: datetime
    event_id: str = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class ConversationOver:
    """A conversation has ended for good."""

    conversation_id: str
    user_id: str
    duration_ms: int
    at: datetime
    event_id: str = field(default_factory=new_id)


Told = ConversationBegun | TurnFinished | TurnAssessed | RecordingKept | ConversationOver
"""What history is told of, too."""

Entry = Told | TurnKept


def to_event(entry: Told) -> history_pb2.ConversationEvent:
    """Return the event that tells history of `entry`."""
    event = history_pb2.ConversationEvent(
        event_id=entry.event_id, conversation_id=entry.conversation_id, user_id=entry.user_id
    )
    event.occurred_at.FromDatetime(entry.at)
    match entry:
        case ConversationBegun():
            event.started.scenario_id = entry.scenario_id
            event.started.scenario_title = entry.scenario_title
            event.started.engine = entry.engine
            event.started.voice = entry.voice
        case TurnFinished():
            event.turn.CopyFrom(entry.turn)
        case TurnAssessed():
            event.assessed.turn_id = entry.turn_id
            event.assessed.feedback.CopyFrom(entry.feedback)
        case RecordingKept():
            event.recording.recording_id = entry.recording_id
            event.recording.duration_ms = entry.duration_ms
        case ConversationOver():
            event.ended.duration_ms = entry.duration_ms
    return event


class Store(Protocol):
    """Where entries go."""

    async def write(self, entries: Sequence[Entry]) -> None:
        """Write all of `entries`, or none; an entry that is there already counts as written.

        Raises:
            Unavailable: nothing was written, and nothing else can be now.
            Exception: nothing was written; one of them may be why.
        """
        ...


@dataclass(slots=True)
class _Waiting:
    entry: Entry
    done: Callable[[], None] | None
    failed: Callable[[], None] | None


class _Done(Enum):
    """What became of a transaction: of `NOTHING` an entry may be the cause, of `STORE_AWAY` not."""

    ALL = auto()
    NOTHING = auto()
    STORE_AWAY = auto()


class Journal:
    """Takes entries at once and writes them in order."""

    def __init__(self, store: Store, clock: Clock, written: Callable[[], None]) -> None:
        """`written` is called after each transaction that left something for the relay."""
        self._store = store
        self._clock = clock
        self._written = written
        self._queue: deque[_Waiting] = deque()
        self._pending: dict[str, int] = {}
        # Of each conversation the one kept turn that waits; it is replaced, never queued behind.
        self._kept: dict[str, _Waiting] = {}
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many entries are not written yet, of all conversations."""
        return len(self._queue)

    def pending(self, conversation_id: str) -> int:
        """Return how many entries of the conversation are not written yet."""
        return self._pending.get(conversation_id, 0)

    def submit(
        self,
        entry: Entry,
        *,
        done: Callable[[], None] | None = None,
        failed: Callable[[], None] | None = None,
    ) -> bool:
        """Take an entry; never waits. False: the conversation has too many waiting already.

        Args:
            entry: what to write.
            done: called when it is written.
            failed: called each time it could not be, or takes long; it is tried again.
        """
        waiting = self.pending(entry.conversation_id)
        if waiting >= MAX_PENDING:
            return False
        self._pending[entry.conversation_id] = waiting + 1
        self._queue.append(_Waiting(entry, done, failed))
        self._wake.set()
        return True

    def keep(self, entry: TurnKept) -> None:
        """Take a turn under way, in the place of one that still waits. It is not pending."""
        waiting = self._kept.get(entry.conversation_id)
        if waiting is not None:
            waiting.entry = entry
            return
        waiting = self._kept[entry.conversation_id] = _Waiting(entry, None, None)
        self._queue.append(waiting)
        self._wake.set()

    async def settled(self, conversation_id: str) -> None:
        """Wait until everything of the conversation is written. Safe to cancel."""
        while self.pending(conversation_id):
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Write until cancelled; what waits then is written first, if it takes no second try.

        A transaction is never cancelled half-way: SQLite would stay locked by it.
        """
        failures = 0
        writing: asyncio.Task[bool] | None = None
        try:
            while True:
                await self._wake.wait()
                writing = asyncio.create_task(self._write_some())
                if await asyncio.shield(writing):
                    failures = 0
                    continue
                wait = min(_FIRST_RETRY_S * 2 ** min(failures, 10), _LONGEST_RETRY_S)
                failures += 1
                await self._clock.sleep(wait)
        finally:
            if writing is None or await writing:
                await self._write_some()

    async def _write_some(self) -> bool:
        """Write the first entries; False when nothing could be written."""
        batch = [self._queue[index] for index in range(min(_BATCH, len(self._queue)))]
        if not batch:
            self._wake.clear()
            return True
        done = await self._write(batch)
        if done is _Done.ALL:
            return True
        if done is _Done.STORE_AWAY:
            self._tell_all()
            return False
        # Perhaps one of them cannot be written: it must hold back only its own conversation, and
        # nobody else is told. All of that conversation's are: they wait behind it.
        stuck: set[str] = set()
        wrote = False
        for waiting in batch:
            conversation_id = waiting.entry.conversation_id
            if conversation_id not in stuck:
                done = await self._write([waiting])
                if done is _Done.STORE_AWAY:
                    self._tell_all()
                    return False
                if done is _Done.ALL:
                    wrote = True
                    continue
                stuck.add(conversation_id)
            if waiting.failed is not None:
                waiting.failed()
        if wrote and stuck:
            # The others go first the next time.
            held = [each for each in self._queue if each.entry.conversation_id in stuck]
            free = [each for each in self._queue if each.entry.conversation_id not in stuck]
            self._queue = deque(free + held)
        return wrote and bool(self._queue) and self._queue[0].entry.conversation_id not in stuck

    def _tell_all(self) -> None:
        """Tell everybody at once: a store that is away may take seconds to fail, each time."""
        for waiting in tuple(self._queue):
            if waiting.failed is not None:
                waiting.failed()

    async def _write(self, batch: Sequence[_Waiting]) -> _Done:
        for each in batch:
            # What is kept from now on comes after this.
            if isinstance(each.entry, TurnKept):
                self._kept.pop(each.entry.conversation_id, None)
        telling = asyncio.get_running_loop().call_later(_LATE_S, self._tell_all)
        try:
            await self._store.write([each.entry for each in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, the entries are kept
            reason = str(error) if isinstance(error, ParleyError) else type(error).__name__
            _log.warning("turns_not_stored", waiting=len(self._queue), error=reason)
            for each in batch:
                if isinstance(each.entry, TurnKept):
                    self._keep_waiting(each, each.entry)
            return _Done.STORE_AWAY if isinstance(error, Unavailable) else _Done.NOTHING
        finally:
            telling.cancel()
        written = {id(each) for each in batch}
        self._queue = deque(each for each in self._queue if id(each) not in written)
        for each in batch:
            if not isinstance(each.entry, TurnKept):
                self._forget(each.entry.conversation_id)
            if each.done is not None:
                each.done()
        self._changed.set()
        if any(not isinstance(each.entry, TurnKept) for each in batch):
            self._written()
        return _Done.ALL

    def _keep_waiting(self, waiting: _Waiting, entry: TurnKept) -> None:
        """It could not be written: it waits on, unless something newer does."""
        if self._kept.setdefault(entry.conversation_id, waiting) is not waiting:
            self._queue.remove(waiting)

    def _forget(self, conversation_id: str) -> None:
        left = self._pending[conversation_id] - 1
        if left:
            self._pending[conversation_id] = left
        else:
            del self._pending[conversation_id]
