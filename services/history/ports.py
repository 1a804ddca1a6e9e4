"""What the application asks of its store. The adapters implement it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from services.history.conversations import (
    Conversation,
    FoundText,
    RepeatedMistake,
    TurnBody,
)
from services.history.events import Envelope, Event, Ownership, TurnFinished, TurnPlace
from services.history.practice import Practice
from services.history.progress import PracticeDay
from services.history.search import Query

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Which conversations of a user. `scenario_id` empty means all; the times are half-open."""

    user_id: str
    scenario_id: str = ""
    since: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class ListPosition:
    """The last conversation of a page: the next one begins after it."""

    started_at: datetime
    conversation_id: str


@dataclass(frozen=True, slots=True)
class MatchPosition:
    """Where a match stands among all of a query.

    newest, oldest: the segments of the index (`adapters.search_segments`) whose matches are ranked
        together with it; matches in older ones come after all of these.
    score: how well it matches; more is better.
    text_id: the text that matches.
    """

    newest: int
    oldest: int
    score: float
    text_id: int


@dataclass(frozen=True, slots=True)
class MistakePosition:
    """The last mistake of a page, where they come by their kinds and keys; before all of them."""

    kind: int = 0
    key: str = ""


class Reading(Protocol):
    """Questions, answered from one consistent state."""

    async def owner(self, conversation_id: str) -> Ownership | None:
        """Whose conversation it is; None when it is not known."""
        ...

    async def conversation(self, conversation_id: str) -> Conversation | None:
        """Return a conversation that is not deleted."""
        ...

    async def conversations(
        self, wanted: ConversationFilter, after: ListPosition | None, limit: int
    ) -> list[Conversation]:
        """Return conversations, newest first."""
        ...

    async def older_than(self, before: datetime, limit: int) -> list[tuple[str, str]]:
        """Return whose and which conversations, not deleted, began before then, oldest first."""
        ...

    async def following(self, after: str, limit: int) -> list[tuple[str, str]]:
        """Return whose and which conversations, not deleted, have ids after that one, in order."""
        ...

    def turns(self, conversation_id: str, after_number: int) -> AsyncIterator[TurnBody]:
        """Yield the turns of a conversation by number, beginning after `after_number`."""
        ...

    async def search(
        self, user_id: str, query: Query, after: MatchPosition | None, limit: int
    ) -> list[tuple[MatchPosition, FoundText]]:
        """Return the user's texts that hold every term of `query`, best first."""
        ...

    async def mistakes(
        self, user_id: str, kind: int, listed: Collection[bytes], limit: int
    ) -> list[RepeatedMistake]:
        """Return the user's mistakes (`kind` 0: of all kinds), the most frequent first.

        Those whose marks are `listed` are left out.
        """
        ...

    async def mistakes_by_key(
        self, user_id: str, kind: int, after: MistakePosition, listed: Collection[bytes], limit: int
    ) -> list[RepeatedMistake]:
        """Return the same from behind a position on, in the order of their kinds and keys.

        That order never changes, however often each was made.
        """
        ...

    async def practice(self, user_id: str, begin: int, end: int) -> list[Practice]:
        """Return the user's practice from the quarter `begin` to before `end`, in any order."""
        ...

    async def practice_days(self, user_id: str) -> list[PracticeDay]:
        """Return every UTC day on which the user practised, in any order."""
        ...

    async def count(self, user_id: str) -> int:
        """Return how many conversations the user has."""
        ...


class Writing(Protocol):
    """A unit of work, done in one go: all of it is stored, or nothing."""

    def claim(self, ids: Collection[str]) -> None:
        """Let no other unit of work change these conversations and users meanwhile. Comes first."""
        ...

    def owner(self, conversation_id: str) -> Ownership | None:
        """Whose conversation it is; None when it is not known."""
        ...

    def some_of(self, user_id: str, limit: int) -> Sequence[str]:
        """Return the ids of some of the user's conversations that are not deleted."""
        ...

    def erased(self, user_ids: Collection[str]) -> set[str]:
        """Return those of the users whose accounts were deleted."""
        ...

    def note_erased(self, user_id: str) -> None:
        """Note that a user's account was deleted. Idempotent."""
        ...

    def known(self, event_ids: Collection[str]) -> dict[str, Envelope]:
        """Return those of the events that are stored already."""
        ...

    def places(self, event: TurnFinished) -> list[TurnPlace]:
        """Return the stored turns that have the event's turn id, or its number."""
        ...

    def apply(self, event: Event) -> None:
        """Store an event that is not known. The conversation is created where it is missing."""
        ...

    def summarise(self, conversation_id: str) -> None:
        """Bring the conversation's totals, and the practice in it, up to date with its turns."""
        ...

    def place_texts(self, conversation_id: str) -> None:
        """Index the conversation's texts anew.

        Those too that an earlier version wrote while this one was there already, or indexed by
        words that it cut and folded in another way.
        """
        ...

    def erase(self, conversation_id: str) -> str:
        """Delete all of a conversation but the mark that it was deleted; return its recording id.

        The recording id is empty where there is no recording.
        """
        ...

    def request_recording_deletion(self, recording_id: str) -> None:
        """Have the recording deleted, surely, some time after the commit."""
        ...


class Store(Protocol):
    """Where history is kept."""

    def reading(self) -> AbstractAsyncContextManager[Reading]:
        """Open a consistent view."""
        ...

    async def write(self, work: Callable[[Writing], T]) -> T:
        """Do a unit of work and return what it returns; nothing of it is stored if it raises.

        It is done in a thread: it may compute, and waits for nothing.
        """
        ...

    async def scrub(self) -> None:
        """Take what was deleted out of the files as well; it may take its time."""
        ...


class Learners(Protocol):
    """What is known elsewhere of the learner who calls."""

    async def time_zone(self) -> str:
        """Return the name of the caller's time zone; empty where none is set.

        Raises:
            ParleyError: it cannot be had.
        """
        ...


Notify = Callable[[], None]
"""Tells the relay that something was committed for it."""
