"""Text by llama.cpp, in this process, through Parley's own binding of it (`llama_cpp`).

A live conversation holds a sequence of the model's cache for its whole life. Of the next prompt
only what differs from it is evaluated: the fixed prefix is shared by all, the turns before are
there, and so is whatever ``prime`` put there while the learner was still speaking.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from services.ai.adapters.llama_cpp.chat import ChatFormat
from services.ai.adapters.llama_cpp.endings import SentenceEnds
from services.ai.adapters.llama_cpp.quiet import Quiet
from services.ai.adapters.llama_cpp.runtime import LlamaRuntime, RuntimeSettings
from services.ai.adapters.llama_cpp.sampling import Logits, Sampler
from services.ai.adapters.llama_cpp.scheduler import ALONE_TOKENS, Asked, Job, Scheduler, Writing
from services.ai.adapters.llama_cpp.states import SavedStates
from services.ai.adapters.llama_cpp.text import TextJoiner
from services.ai.adapters.llama_cpp.worker import Worker
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelCapabilities,
    Message,
    ProviderBusyError,
    ProviderError,
)

_CORES = os.cpu_count() or 1
# Room in the cache for the beginning that all conversations share, beside their own. What is longer
# is shared up to here: the system message has about 400 tokens.
_SHARED_TOKENS = 512
# The same for what is done in idle time: its instructions, a sentence and that sentence again.
_SPARE_TOKENS = 768
# One piece is a token, a reply at most ``max_tokens`` of them: the queue cannot grow past that.
_MAX_QUEUED_PIECES = 4096


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """How to run the model. ``context_tokens`` is what one session has.

    ``cache_dir`` is where evaluated prompts are kept; None keeps none. ``library`` is the folder
    of llama.cpp's shared libraries; None is where set-up puts them.

    ``taken_cores`` says how many cores other models compute on now; it is asked before each step,
    from another thread. llama.cpp's threads wait for each other hundreds of times a token, and by
    spinning: where two of them share a core with anything else, a token takes longer than one
    thread needs for it, and the other work gets less.
    """

    model: Path
    cache_dir: Path | None = None
    sessions: int = 1
    context_tokens: int = 2048
    threads: int = 2
    library: Path | None = None
    taken_cores: Callable[[], int] = lambda: 0

    def free_threads(self) -> int:
        """Return with how many threads to compute now: at least one."""
        return max(1, min(self.threads, _CORES - self.taken_cores()))


class LlamaLanguageModel:
    """A GGUF model with a sequence of its cache for each session.

    Loading blocks for seconds. Raises ``LlamaLibraryError`` and ``ProviderError``.
    """

    def __init__(self, settings: LlamaSettings) -> None:
        self._settings = settings
        self._runtime = LlamaRuntime(
            RuntimeSettings(
                model=settings.model,
                sequences=settings.sessions + 2,
                cells=settings.context_tokens * settings.sessions + _SHARED_TOKENS + _SPARE_TOKENS,
                batch_tokens=max(ALONE_TOKENS, 2 * settings.sessions),
                threads=settings.threads,
                library=settings.library,
            )
        )
        try:
            self._format = ChatFormat(self._runtime)
            self._sentence_ends = SentenceEnds(self._runtime, self._format)
        except ProviderError:
            self._runtime.close()
            raise
        self._scheduler = Scheduler(self._runtime, settings.sessions, settings.context_tokens)
        quiet = Quiet(lambda: settings.taken_cores() > 0)
        self._worker = Worker(self._runtime, self._scheduler, settings.free_threads, quiet)
        self._free = settings.sessions
        self._spare_free = True
        self._closed = False
        self._writing = 0

    @property
    def writing(self) -> int:
        """How many replies are being written now."""
        return self._writing

    @property
    def capabilities(self) -> LanguageModelCapabilities:
        """A prompt cache for every session."""
        return LanguageModelCapabilities(
            context_tokens=self._settings.context_tokens,
            prompt_cache=True,
            max_sessions=self._settings.sessions,
        )

    def open(self) -> LlamaSession:
        """Take a place. Raises ``ProviderBusyError`` when every place is taken."""
        if not self._free:
            raise ProviderBusyError("every place of the language model is taken")
        self._free -= 1
        return LlamaSession(self)

    def open_spare(self) -> LlamaSession:
        """Take the place of what is done in idle time. See ``WritesInIdleTime``."""
        if not self._spare_free:
            raise ProviderBusyError("the language model's idle time is taken")
        self._spare_free = False
        return LlamaSession(self, idle=True)

    async def warm(self, messages: Sequence[Message]) -> None:
        """Have every session begin with the evaluated ``messages``: from a file, or evaluated once.

        Raises ``ProviderError``.
        """
        tokens = self._format.beginning(messages)[:_SHARED_TOKENS]
        await self._warm(tokens, self._scheduler.shared, self._states(""))

    async def warm_spare(self, messages: Sequence[Message]) -> None:
        """Have idle time begin with the evaluated ``messages``. See ``WritesInIdleTime``."""
        tokens = self._format.beginning(messages)[:_SPARE_TOKENS]
        await self._warm(tokens, self._scheduler.spare, self._states("spare"), idle=True)

    def _states(self, folder: str) -> SavedStates | None:
        """Return where evaluated prompts of one kind are kept, each in a folder of its own."""
        settings = self._settings
        if settings.cache_dir is None:
            return None
        return SavedStates(settings.cache_dir / folder, settings.model, self._runtime.release)

    async def _warm(
        self,
        tokens: tuple[int, ...],
        sequence: int,
        states: SavedStates | None,
        *,
        idle: bool = False,
    ) -> None:
        runtime, scheduler = self._runtime, self._scheduler

        def restore() -> bool:
            if states is None:
                return False
            # A file that turns out damaged may leave anything there.
            runtime.forget(sequence, 0)
            found = states.restore(runtime, sequence, tokens)
            scheduler.restored(sequence, tokens if found else ())
            return found

        if await asyncio.wrap_future(self._worker.call(restore)):
            return
        await self.read(tokens, owner=self, sequence=sequence, idle=idle)
        if states is not None:
            await asyncio.wrap_future(
                self._worker.call(lambda: states.save(runtime, sequence, tokens))
            )

    def count_tokens(self, text: str) -> int:
        """Return how many tokens ``text`` has."""
        return self._format.count(text)

    async def evaluated_tokens(self) -> int:
        """Return how many tokens went through the model so far, once the running step has ended."""
        call = self._worker.call(lambda: self._scheduler.evaluated_tokens)
        return await asyncio.wrap_future(call)

    def close(self) -> None:
        """Stop what runs, end the thread and free the memory. Idempotent."""
        if not self._closed:
            self._closed = True
            self._worker.close()
            self._runtime.close()

    # --- for its sessions -----------------------------------------------------------------------

    def release(self, session: LlamaSession) -> None:
        """Take a session's place back."""
        if session.idle:
            self._spare_free = True
        else:
            self._free += 1
        self._worker.release(session)

    async def read(
        self,
        tokens: tuple[int, ...],
        *,
        owner: object,
        sequence: int | None = None,
        idle: bool = False,
    ) -> None:
        """Evaluate ``tokens`` for ``owner`` ahead of need. Raises ``ProviderError``."""
        if not tokens:
            return
        pieces = _Pieces()
        job = Job(owner, tokens, None, pieces.text, pieces.end, sequence=sequence, idle=idle)
        self._worker.submit(job)
        try:
            await pieces.next()
        finally:
            self._worker.cancel(job)

    async def write(
        self,
        messages: Sequence[Message],
        options: GenerationOptions,
        *,
        owner: object,
        tell_end: Callable[[float], None] | None = None,
        idle: bool = False,
    ) -> AsyncGenerator[str, None]:
        """Yield the reply to ``messages`` for ``owner``. Raises ``ProviderError``.

        ``tell_end`` is told how likely the last message is to end a sentence. ``idle``: only while
        the model has nothing else to do.
        """
        prompt = self._format.prompt(messages)
        room = self._settings.context_tokens
        if idle:
            room = min(room, _SPARE_TOKENS - options.max_tokens)
        if len(prompt) >= room:
            raise ProviderError(
                f"the prompt has {len(prompt)} tokens, there is room for {room}", retryable=False
            )
        if options.max_tokens < 1:
            return
        pieces = _Pieces()
        sampler = Sampler.seeded(
            options.temperature,
            options.top_p,
            options.seed,
            self._format.beginnings(options.not_first),
        )
        writing = Writing(
            sampler, options.max_tokens, TextJoiner(options.stop), options.not_without
        )
        asked = self._asked(messages, prompt, pieces) if tell_end is not None else None
        place = self._scheduler.spare if idle else None
        job = Job(
            owner, prompt, writing, pieces.text, pieces.end, sequence=place, asked=asked, idle=idle
        )
        self._worker.submit(job)
        # What is written in idle time keeps nobody from speculating.
        self._writing += not idle
        try:
            while (piece := await pieces.next()) is not None:
                if isinstance(piece, str):
                    yield piece
                elif tell_end is not None:
                    tell_end(piece)
        finally:
            self._writing -= not idle
            self._worker.cancel(job)

    def _asked(
        self, messages: Sequence[Message], prompt: tuple[int, ...], pieces: _Pieces
    ) -> Asked | None:
        position = self._sentence_ends.last_word(messages, prompt)

        def tell(logits: Logits) -> None:
            pieces.sentence_end(self._sentence_ends.probability(logits))

        return None if position is None else Asked(position, tell)

    def beginning(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return what a prompt that goes on from ``messages`` begins with, as far as it fits."""
        return self._format.beginning(messages)[: self._settings.context_tokens - 1]


class LlamaSession:
    """One conversation's sequence. Calls on it run one after another.

    ``idle``: it is none's; what it does is done while the model has nothing else to do.
    """

    def __init__(self, model: LlamaLanguageModel, *, idle: bool = False) -> None:
        self.idle = idle
        self._model = model
        self._open = True
        self._turn = asyncio.Lock()
        self._tell_end: Callable[[float], None] | None = None

    def on_sentence_end(self, tell: Callable[[float], None]) -> None:
        """See ``TellsSentenceEnds``."""
        self._tell_end = tell

    async def prime(self, messages: Sequence[Message]) -> None:
        """Evaluate the prompt so far, so that it is in the cache."""
        async with self._turn:
            if not self._open or self.idle:
                return
            with suppress(ProviderError):  # a hint: the reply will meet the error, and tell it
                await self._model.read(self._model.beginning(messages), owner=self)

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        """Yield the reply token by token."""
        async with self._turn:
            if not self._open:
                raise ProviderError("the conversation was closed", retryable=False)
            # Closed here and not when it is collected: a reply that nobody reads must stop now.
            written = self._model.write(
                messages, options, owner=self, tell_end=self._tell_end, idle=self.idle
            )
            async with aclosing(written) as pieces:
                async for piece in pieces:
                    yield piece

    def close(self) -> None:
        """Give the place back."""
        if self._open:
            self._open = False
            self._model.release(self)


class _Pieces:
    """What the model's thread tells, for the loop that made it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Full-policy: never full (see the constant); a piece beyond it would be a bug and raises.
        self._queue: asyncio.Queue[str | float | ProviderError | None] = asyncio.Queue(
            _MAX_QUEUED_PIECES
        )

    def text(self, piece: str) -> None:
        """Hand on a piece. Called on the model's thread."""
        self._put(piece)

    def sentence_end(self, probability: float) -> None:
        """Hand on how likely the prompt ends a sentence. Called on the model's thread."""
        self._put(probability)

    def end(self, error: ProviderError | None) -> None:
        """Hand on the end. Called on the model's thread."""
        self._put(error)

    async def next(self) -> str | float | None:
        """Return the next piece or probability, None at the end. Raises ``ProviderError``."""
        piece = await self._queue.get()
        if isinstance(piece, ProviderError):
            raise piece
        return piece

    def _put(self, item: str | float | ProviderError | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
