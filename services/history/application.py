"""What each method of the history service does."""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.common.audit import AuditTrail
from services.common.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidArgument,
    NotFound,
    ParleyError,
)
from services.common.limits import DEFAULT_LIMITS
from services.history import page_tokens
from services.history.conversations import (
    MARK_BYTES,
    Conversation,
    FoundText,
    RepeatedMistake,
    TurnBody,
)
from services.history.events import (
    Assessed,
    Envelope,
    Event,
    Ownership,
    RecordingStored,
    TurnFinished,
    misplaced,
)
from services.history.ports import (
    ConversationFilter,
    ListPosition,
    MatchPosition,
    MistakePosition,
    Notify,
    Reading,
    Store,
    Writing,
)
from services.history.search import Query, parse_query

CONVERSATIONS_PER_PAGE = 20
TURNS_PER_PAGE = 200
MATCHES_PER_PAGE = 20
MISTAKES_PER_PAGE = 20
"""What a page size of 0 means; the contract says so."""

MOST_FREQUENT = 1000
"""So many mistakes come by how often they were made; a page's token names those before it.

All others follow by what they are, an order in which none changes its place.
"""

PAGE_BYTES = DEFAULT_LIMITS.turns_page_bytes
"""A page of turns ends here, whatever was asked."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """How many events were new, and how many changed nothing.

    times: when what was new happened.
    """

    stored: int
    known: int
    times: tuple[datetime, ...] = ()


class IngestWatch(Protocol):
    """Watches what comes in."""

    def took(self, ingested: Ingested) -> None:
        """Note that events were taken."""
        ...

    def refused(self, reason: str) -> None:
        """Note that a batch of events was not."""
        ...


class _NobodyWatches:
    def took(self, ingested: Ingested) -> None:
        return None

    def refused(self, reason: str) -> None:
        return None


_NOBODY_WATCHES = _NobodyWatches()


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """A page of conversations; `next_page_token` is empty after the last."""

    conversations: tuple[Conversation, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class TurnPage:
    """A conversation with a page of its turns."""

    conversation: Conversation
    turns: tuple[TurnBody, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class MatchPage:
    """A page of what a search found, and the query as it was understood."""

    query: Query
    matches: tuple[FoundText, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class MistakePage:
    """A page of mistakes."""

    mistakes: tuple[RepeatedMistake, ...]
    next_page_token: str


class History:
    """The history of all users. Every question is asked by one of them, who sees only their own.

    What of it leaves, what is deleted, and who asked for another's is noted in `audit`.
    """

    def __init__(
        self,
        store: Store,
        notify_relay: Notify,
        audit: AuditTrail,
        watch: IngestWatch = _NOBODY_WATCHES,
    ) -> None:
        self._store = store
        self._notify_relay = notify_relay
        self._audit = audit
        self._watch = watch

    async def ingest(self, events: Sequence[Event]) -> Ingested:
        """Store events, all or none; known ones and those of what was deleted are passed by.

        Raises:
            AlreadyExists: EVENT_CONFLICT, when an id was used for another event.
            InvalidArgument: EVENT_INVALID, naming every event that cannot be stored.
        """
        try:
            ingested = await self._store.write(lambda work: _ingest(work, events))
        except ParleyError as error:
            self._watch.refused(error.reason)
            raise
        self._watch.took(ingested)
        if any(isinstance(event, RecordingStored) for event in events):
            # Nothing else has a recording deleted, which is all that this relay tells of.
            self._notify_relay()
        return ingested

    async def conversations(
        self, wanted: ConversationFilter, page_size: int, page_token: str
    ) -> ConversationPage:
        """List a user's conversations, newest first.

        Raises:
            InvalidArgument: PAGE_TOKEN_INVALID.
        """
        asked = page_tokens.question(
            "conversations", wanted.user_id, wanted.scenario_id, wanted.since, wanted.before
        )
        after = _list_position(page_tokens.decode(page_token, asked, str, str))
        size = page_size or CONVERSATIONS_PER_PAGE
        async with self._store.reading() as state:
            found = await state.conversations(wanted, after, size + 1)
        token = ""
        if len(found) > size:
            last = found[size - 1]
            token = page_tokens.encode(asked, last.started_at.isoformat(), last.conversation_id)
        return ConversationPage(tuple(found[:size]), token)

    async def conversation(
        self, user_id: str, conversation_id: str, page_size: int, page_token: str
    ) -> TurnPage:
        """Return a conversation of the user's with a page of its turns.

        Raises:
            NotFound: CONVERSATION_NOT_FOUND, also for another user's and a deleted one.
            InvalidArgument: PAGE_TOKEN_INVALID.
        """
        asked = page_tokens.question("turns", user_id, conversation_id)
        position = page_tokens.decode(page_token, asked, int)
        after = int(position[0]) if position else 0
        size = page_size or TURNS_PER_PAGE
        async with self._store.reading() as state:
            conversation = await self._own(state, user_id, conversation_id)
            turns: list[TurnBody] = []
            held, token = 0, ""
            async for turn in state.turns(conversation_id, after):
                held += len(turn.turn) + len(turn.feedback or b"")
                if turns and (len(turns) == size or held > PAGE_BYTES):
                    token = page_tokens.encode(asked, turns[-1].number)
                    break
                turns.append(turn)
        self._audit.note_once_a_minute(
            conversation_id,
            "conversation_read",
            user_id=user_id,
            conversation_id=conversation_id,
        )
        return TurnPage(conversation, tuple(turns), token)

    async def search(self, user_id: str, text: str, page_size: int, page_token: str) -> MatchPage:
        """Find the user's turns that hold every word and phrase of `text`, best first.

        Raises:
            InvalidArgument: QUERY_INVALID, PAGE_TOKEN_INVALID.
        """
        query = parse_query(text)
        asked = page_tokens.question("search", user_id, query.terms)
        after = _match_position(page_tokens.decode(page_token, asked, int, int, str, int))
        size = page_size or MATCHES_PER_PAGE
        async with self._store.reading() as state:
            found = await state.search(user_id, query, after, size + 1)
        token = ""
        if len(found) > size:
            last, _ = found[size - 1]
            place = (last.newest, last.oldest, last.score.hex(), last.text_id)
            token = page_tokens.encode(asked, *place)
        # Not for what: that is as private as what was said.
        self._audit.note_once_a_minute(None, "turns_searched", user_id=user_id)
        return MatchPage(query, tuple(match for _, match in found[:size]), token)

    async def delete(self, user_id: str, conversation_id: str) -> None:
        """Delete a conversation of the user's, and have its recording deleted. Idempotent.

        Events of it that come later change nothing.

        Raises:
            NotFound: CONVERSATION_NOT_FOUND, when there never was one, or it is another user's.
        """
        await self._delete("conversation_deleted", user_id, conversation_id)

    async def expire(self, user_id: str, conversation_id: str) -> None:
        """Do the same for a conversation that is older than they may become."""
        await self._delete("conversation_expired", user_id, conversation_id)

    async def _delete(self, event: str, user_id: str, conversation_id: str) -> None:
        def erase_own(work: Writing) -> Ownership | None:
            work.claim([conversation_id, user_id])
            owner = work.owner(conversation_id)
            if owner is not None and owner.user_id == user_id and not owner.deleted:
                _erase(work, conversation_id)
            return owner

        before = await self._store.write(erase_own)
        if before is None or before.user_id != user_id:
            raise self._not_found(user_id, conversation_id, exists=before is not None)
        if not before.deleted:
            self._audit.note(event, user_id=user_id, conversation_id=conversation_id)
        self._notify_relay()

    async def erase_user(self, user_id: str) -> int:
        """Delete every conversation of a user and have the recordings deleted; return how many.

        Events of theirs that come later change nothing. Some at a time: others write meanwhile.
        """

        def mark(work: Writing) -> None:
            work.claim([user_id])
            work.note_erased(user_id)

        def some(work: Writing) -> int:
            found = work.some_of(user_id, CONVERSATIONS_PER_PAGE)
            work.claim([*found, user_id])
            for conversation_id in found:
                _erase(work, conversation_id)
            return len(found)

        # Before it is looked what there is: whatever is stored at the same time comes before or
        # after this as a whole.
        await self._store.write(mark)
        erased = 0
        while found := await self._store.write(some):
            erased += found
            self._notify_relay()
        if erased:
            self._audit.note("user_erased", user_id=user_id, conversations=erased)
        await self._store.scrub()
        return erased

    async def mistakes(
        self, user_id: str, kind: int, page_size: int, page_token: str
    ) -> MistakePage:
        """List the user's mistakes, the most frequent first; `kind` 0 means all kinds.

        A page says what is so when it is asked for, and leaves out what the pages before it had:
        how often a mistake was made may have changed, so no place among them says where to go on.
        Behind the thousand most frequent a place does: the others come in an order of their own.

        Raises:
            InvalidArgument: PAGE_TOKEN_INVALID.
        """
        asked = page_tokens.question("mistakes", user_id, kind)
        listed, after = _listed(page_tokens.decode(page_token, asked, str, int, str))
        left = MOST_FREQUENT - len(listed)
        size = page_size or MISTAKES_PER_PAGE
        async with self._store.reading() as state:
            if left:
                size = min(size, left)
                found = await state.mistakes(user_id, kind, frozenset(listed), size + 1)
            else:
                found = await state.mistakes_by_key(
                    user_id, kind, after, frozenset(listed), size + 1
                )
        page = found[:size]
        token = ""
        if len(found) > size:
            if left:
                listed = [*listed, *(each.mark for each in page)]
            else:
                after = MistakePosition(page[-1].kind, page[-1].key)
            marks = base64.b64encode(b"".join(listed)).decode()
            token = page_tokens.encode(asked, marks, after.kind, after.key)
        return MistakePage(tuple(page), token)

    async def export(
        self, user_id: str, conversation_ids: Sequence[str]
    ) -> AsyncGenerator[tuple[Conversation, AsyncGenerator[TurnBody, None]], None]:
        """Yield conversations, newest first, each with its turns; all of them when none is named.

        Read the turns before asking for the next conversation.

        Raises:
            NotFound: CONVERSATION_NOT_FOUND, before anything is yielded, for any that is named.
        """
        async with self._store.reading() as state:
            for conversation_id in conversation_ids:
                await self._own(state, user_id, conversation_id)
        self._audit.note(
            "conversations_exported", user_id=user_id, conversation_ids=conversation_ids or "all"
        )
        wanted = set(conversation_ids)
        after: ListPosition | None = None
        while True:
            # Nothing is read while the caller's caller takes what was: who reads slowly would hold
            # one of the few connections.
            async with self._store.reading() as state:
                page = await state.conversations(
                    ConversationFilter(user_id), after, CONVERSATIONS_PER_PAGE
                )
            for each in page:
                if not wanted or each.conversation_id in wanted:
                    yield each, self._turns(each.conversation_id)
            if len(page) < CONVERSATIONS_PER_PAGE:
                return
            after = ListPosition(page[-1].started_at, page[-1].conversation_id)

    async def _turns(self, conversation_id: str) -> AsyncGenerator[TurnBody, None]:
        """Yield the turns, read some at a time; what is deleted meanwhile does not come."""
        after = 0
        while True:
            turns: list[TurnBody] = []
            held = 0
            async with self._store.reading() as state:
                async for turn in state.turns(conversation_id, after):
                    turns.append(turn)
                    held += len(turn.turn) + len(turn.feedback or b"")
                    if held > PAGE_BYTES:
                        break
            for turn in turns:
                yield turn
            if held <= PAGE_BYTES:
                return
            after = turns[-1].number

    async def _own(self, state: Reading, user_id: str, conversation_id: str) -> Conversation:
        found = await state.conversation(conversation_id)
        if found is None or found.user_id != user_id:
            raise self._not_found(user_id, conversation_id, exists=found is not None)
        return found

    def _not_found(self, user_id: str, conversation_id: str, *, exists: bool) -> NotFound:
        """Return the same refusal for another's conversation and for none, and note the first."""
        if exists:
            self._audit.note_once_a_minute(
                conversation_id,
                "anothers_conversation_refused",
                alarming=True,
                user_id=user_id,
                conversation_id=conversation_id,
            )
        return NotFound("No such conversation.", reason="CONVERSATION_NOT_FOUND")


def _ingest(work: Writing, events: Sequence[Event]) -> Ingested:
    told_of = (event.envelope for event in events)
    work.claim({each for told in told_of for each in (told.conversation_id, told.user_id)})
    known = work.known({event.envelope.event_id for event in events})
    erased = work.erased({event.envelope.user_id for event in events})
    _refuse_conflicts(events, known)
    violations: list[FieldViolation] = []
    times: list[datetime] = []
    touched: dict[str, None] = {}
    for index, event in enumerate(events):
        envelope = event.envelope
        if envelope.event_id in known:
            continue
        violation = _unfit(work, index, event)
        if violation is not None:
            violations.append(violation)
            continue
        known[envelope.event_id] = envelope
        if envelope.user_id in erased or _deleted(work, event):
            # A recording that was stored only then is not kept either.
            if isinstance(event, RecordingStored):
                work.request_recording_deletion(event.recording_id)
            continue
        work.apply(event)
        if isinstance(event, TurnFinished | Assessed):
            touched[envelope.conversation_id] = None
        times.append(envelope.occurred_at)
    if violations:
        raise InvalidArgument(
            "Some events cannot be stored; none was.",
            reason="EVENT_INVALID",
            fields=violations,
        )
    for conversation_id in touched:
        work.summarise(conversation_id)
    return Ingested(len(times), len(events) - len(times), tuple(times))


def _erase(work: Writing, conversation_id: str) -> None:
    recording_id = work.erase(conversation_id)
    if recording_id:
        work.request_recording_deletion(recording_id)


def _unfit(work: Writing, index: int, event: Event) -> FieldViolation | None:
    """Say which field keeps the event from being stored; None when it fits."""
    owner = work.owner(event.envelope.conversation_id)
    if owner is not None and owner.user_id != event.envelope.user_id:
        return FieldViolation(
            f"events[{index}].user_id", "the conversation belongs to another user"
        )
    if isinstance(event, TurnFinished):
        wrong = misplaced(event, work.places(event))
        if wrong is not None:
            return FieldViolation(f"events[{index}].turn", wrong)
    return None


def _deleted(work: Writing, event: Event) -> bool:
    """Tell whether the event comes after its conversation was deleted."""
    owner = work.owner(event.envelope.conversation_id)
    return owner is not None and owner.deleted


def _refuse_conflicts(events: Sequence[Event], known: dict[str, Envelope]) -> None:
    seen = dict(known)
    fields = []
    for index, event in enumerate(events):
        envelope = event.envelope
        if not seen.setdefault(envelope.event_id, envelope).same_event(envelope):
            fields.append(
                FieldViolation(f"events[{index}].event_id", "this id was used for another event")
            )
    if fields:
        raise AlreadyExists(
            "An event id was used twice, for different events.",
            reason="EVENT_CONFLICT",
            fields=fields,
        )


def _list_position(position: tuple[str | int, ...] | None) -> ListPosition | None:
    if position is None:
        return None
    return ListPosition(_time(position[0]), str(position[1]))


def _match_position(position: tuple[str | int, ...] | None) -> MatchPosition | None:
    if position is None:
        return None
    newest, oldest, score, text_id = position
    try:
        worth = float.fromhex(str(score))
    except (ValueError, OverflowError):
        worth = math.nan
    if not math.isfinite(worth):
        raise page_tokens.invalid()
    return MatchPosition(_number(newest), _number(oldest), worth, _number(text_id))


def _listed(
    position: tuple[str | int, ...] | None,
) -> tuple[Sequence[bytes], MistakePosition]:
    """Return the marks of the most frequent mistakes that earlier pages had, and the last other."""
    if position is None:
        return (), MistakePosition()
    told, kind, key = position
    try:
        marks = base64.b64decode(str(told), validate=True)
    except ValueError:
        raise page_tokens.invalid() from None
    if len(marks) % MARK_BYTES or len(marks) // MARK_BYTES > MOST_FREQUENT:
        raise page_tokens.invalid()
    listed = [marks[at : at + MARK_BYTES] for at in range(0, len(marks), MARK_BYTES)]
    return listed, MistakePosition(_number(kind, 2**31), _key(str(key)))


def _key(told: str) -> str:
    # Not every database takes every character, and no mistake's key has others.
    if not told.isascii() or not told.isprintable():
        raise page_tokens.invalid()
    return told


def _time(told: str | int) -> datetime:
    try:
        time = datetime.fromisoformat(str(told))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise page_tokens.invalid()
    return time


def _number(told: str | int, below: int = 2**63) -> int:
    # More than a database's own numbers would not be refused by each in the same way.
    if not 0 <= int(told) < below:
        raise page_tokens.invalid()
    return int(told)
