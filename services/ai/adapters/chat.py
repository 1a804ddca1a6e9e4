"""What language models elsewhere have in common: places, prompts, budgets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.ai.adapters.http_failures import broke_off
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelCapabilities,
    Message,
    ProviderBusyError,
    ProviderError,
    Role,
)
from services.ai.engine_file import RemotePart
from services.ai.stops import StopStrings
from services.ai.streams import timely

# The word tokenizers of current models make a token of three to four letters of English, and of a
# single character of many other scripts, which has about three bytes in UTF-8.
_BYTES_PER_TOKEN = 3
# Where a conversation begins with the tutor: providers want the learner to speak first.
_FIRST_WORDS = "(The lesson begins.)"


class Ending(StrEnum):
    """Why a reply is over, where its provider says so."""

    COMPLETE = "complete"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Delta:
    """The next text of a reply, or that it is over, or both."""

    text: str = ""
    ending: Ending | None = None


class ChatWire(Protocol):
    """How one provider's protocol writes a reply."""

    def deltas(
        self, system: str, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncGenerator[Delta, None]:
        """Yield the reply to ``messages``, which begin with the learner; nothing empty.

        A reply without an ending broke off. ``options.stop`` is left to the caller. Raises
        ``ProviderError``. Closing it gives the connection up, and stops the model.
        """

    async def aclose(self) -> None:
        """Close every connection."""


class RemoteLanguageModel:
    """A language model elsewhere: any number of replies at once, a bounded number of sessions."""

    def __init__(self, name: str, part: RemotePart, wire: ChatWire, context_tokens: int) -> None:
        self._name = name
        self._part = part
        self._wire = wire
        self._free = part.max_sessions
        self._capabilities = LanguageModelCapabilities(
            context_tokens=context_tokens,
            # What they cache, they cache from request to request; asking ahead would be paid for.
            prompt_cache=False,
            max_sessions=part.max_sessions,
        )

    @property
    def capabilities(self) -> LanguageModelCapabilities:
        """What the settings say of it."""
        return self._capabilities

    @property
    def writing(self) -> int:
        """Zero: the replies it writes take nothing from this machine."""
        return 0

    def open(self) -> RemoteWriting:
        """Take a place. Raises ``ProviderBusyError`` when every place is taken."""
        if not self._free:
            raise ProviderBusyError(f"{self._name} has as many conversations as it may have")
        self._free -= 1
        return RemoteWriting(self)

    async def warm(self, messages: Sequence[Message]) -> None:
        """Do nothing."""

    def count_tokens(self, text: str) -> int:
        """Return an estimate that is rather too high."""
        return len(text.encode()) // _BYTES_PER_TOKEN + 1

    async def aclose(self) -> None:
        """Close every connection."""
        await self._wire.aclose()

    # --- for its sessions -----------------------------------------------------------------------

    def release(self) -> None:
        """Take a session's place back."""
        self._free += 1

    async def write(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncGenerator[str, None]:
        """Yield the reply. Raises ``ProviderError``."""
        if options.max_tokens < 1:
            return
        system, turns = split(messages)
        if not turns:
            raise ProviderError(
                f"{self._name} was given nothing to answer", retryable=False, elsewhere=False
            )
        written = timely(
            self._wire.deltas(system, turns, options),
            first_s=self._part.first_timeout_s,
            next_s=self._part.next_timeout_s,
            who=self._name,
        )
        # Stop strings are watched for here and not sent: OpenAI takes four at most and its newer
        # models none, Anthropic none of white space. Closing the stream stops the model as well.
        stops = StopStrings(options.stop)
        ending = None
        said = False
        async with aclosing(written) as deltas:
            async for delta in deltas:
                ending = delta.ending or ending
                if text := stops.add(delta.text):
                    said = True
                    yield text
                if stops.stopped:
                    return
        if ending is None:
            raise broke_off(self._name)
        if rest := stops.end():
            said = True
            yield rest
        if ending is Ending.DECLINED and not said:
            raise ProviderError(f"{self._name} declines to answer", retryable=False, elsewhere=True)


class RemoteWriting:
    """One conversation with a language model elsewhere."""

    def __init__(self, model: RemoteLanguageModel) -> None:
        self._model = model
        self._open = True

    async def prime(self, messages: Sequence[Message]) -> None:
        """Do nothing."""

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        """Yield the reply piece by piece."""
        if not self._open:
            raise ProviderError("the conversation was closed", retryable=False)
        async with aclosing(self._model.write(messages, options)) as pieces:
            async for piece in pieces:
                yield piece

    def close(self) -> None:
        """Give the place back."""
        if self._open:
            self._open = False
            self._model.release()


def split(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """Return the instructions and the turns as providers take them.

    None is blank, and the first is the learner's.
    """
    system = "\n\n".join(
        each.text.strip() for each in messages if each.role is Role.SYSTEM and each.text.strip()
    )
    turns = [each for each in messages if each.role is not Role.SYSTEM and each.text.strip()]
    if turns and turns[0].role is Role.ASSISTANT:
        turns.insert(0, Message(Role.USER, _FIRST_WORDS))
    return system, turns
