"""Text by llama.cpp, in this process, through xllamacpp (MIT).

A live conversation holds one slot of the server for its whole life. A slot keeps the evaluated
prompt of its last call, so of the next prompt only what differs is evaluated: the fixed prefix, the
turns before, and whatever ``prime`` put there while the learner was still speaking.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.ai.adapters.llama_slots import SlotFiles
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelCapabilities,
    Message,
    ProviderBusyError,
    ProviderError,
    Role,
)

# llama.cpp's threads meet at a barrier hundreds of times a token, and GNU OpenMP by default spins
# there for milliseconds. That wins nothing on free cores (22 against 25 ms a token of the 0.5B
# model on two), and where any other process wants one of them it costs an order of magnitude (53
# against 645 ms). The library reads the variable when it is loaded, so it is set before.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import xllamacpp

# English text takes about 4.5 characters a token in these vocabularies, learners' less; a budget
# must never be exceeded, so tokens are counted high.
_CHARACTERS_PER_TOKEN = 3.5
# A prompt is evaluated in steps of this many tokens, and can be cancelled between two of them: a
# step of the 1.5B model takes about a second on two cores. Smaller steps evaluate more slowly.
_BATCH_TOKENS = 64
# Small models fall into saying their last reply again. This mild penalty over about the last turn
# makes that rarer; from 1.1 on it drives replies away from the learner's own words, and long.
_REPEAT_PENALTY = 1.05
_REPEAT_LAST_TOKENS = 64
# One piece is a token, a reply at most ``max_tokens`` of them: the queue cannot grow past that.
_MAX_QUEUED_PIECES = 4096


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """How to run the model. ``context_tokens`` is what one session has.

    ``cache_dir`` is where evaluated prompts are kept; None keeps none.
    """

    model: Path
    cache_dir: Path | None = None
    sessions: int = 1
    context_tokens: int = 2048
    threads: int = 2


class LlamaLanguageModel:
    """A GGUF model with a slot for each live session, and one more for calls without a session."""

    def __init__(self, settings: LlamaSettings) -> None:
        self._settings = settings
        slots = settings.sessions
        params = xllamacpp.CommonParams()
        params.model.path = str(settings.model)
        params.n_parallel = slots
        params.n_ctx = settings.context_tokens * slots
        # Each slot its own part of the cache: one session never evicts another's prompt.
        params.kv_unified = False
        params.cache_idle_slots = False
        params.cache_ram_mib = 0
        params.n_batch = _BATCH_TOKENS
        params.n_ubatch = _BATCH_TOKENS
        params.cpuparams.n_threads = settings.threads
        params.cpuparams_batch.n_threads = settings.threads
        # Without polling, idle threads sleep and leave the cores to the speech models.
        params.cpuparams.poll = 0
        params.cpuparams_batch.poll = 0
        params.verbosity = -1
        params.ui = False
        # The library opens an HTTP port on loopback whether it is wanted or not.
        key = secrets.token_hex(16)
        params.api_keys = [key]
        if settings.cache_dir is not None:
            settings.cache_dir.mkdir(parents=True, exist_ok=True)
            params.slot_save_path = f"{settings.cache_dir}/"
        self._server = xllamacpp.Server(params)
        self._files = (
            SlotFiles(settings.cache_dir, self._server.listening_address, key, settings.model)
            if settings.cache_dir is not None
            else None
        )
        self._free = list(range(slots))
        # One blocking call a slot at most, so one thread each; a second for the call that a
        # cancelled one is still leaving.
        self._threads = ThreadPoolExecutor(2 * slots, thread_name_prefix="language-model")

    @property
    def capabilities(self) -> LanguageModelCapabilities:
        """A prompt cache for every session."""
        return LanguageModelCapabilities(
            context_tokens=self._settings.context_tokens,
            prompt_cache=True,
            max_sessions=self._settings.sessions,
        )

    def open(self) -> LlamaSession:
        """Take a slot. Raises ``ProviderBusyError`` when every slot is taken."""
        if not self._free:
            raise ProviderBusyError("every slot of the language model is taken")
        return LlamaSession(self, self._free.pop(0))

    async def warm(self, messages: Sequence[Message]) -> None:
        """Have every slot hold the evaluated ``messages``: from the file, or evaluated once."""
        loop = asyncio.get_running_loop()
        files = self._files
        if files is None:
            await self._prime_first(messages)
            return
        name = files.name_of(messages, self._settings.context_tokens)
        first, *others = list(self._free)
        if not (
            files.exists(name) and await loop.run_in_executor(None, files.restore, first, name)
        ):
            await self._prime_first(messages)
            await loop.run_in_executor(None, files.save, first, name)
        for slot in others:
            await loop.run_in_executor(None, files.restore, slot, name)

    async def _prime_first(self, messages: Sequence[Message]) -> None:
        session = self.open()
        try:
            await session.prime(messages)
        finally:
            session.close()

    def count_tokens(self, text: str) -> int:
        """Return an upper estimate of the tokens in ``text``."""
        return int(len(text) / _CHARACTERS_PER_TOKEN) + 1

    def close(self) -> None:
        """End the threads. Calls that still run end first."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def release(self, slot: int) -> None:
        """Take a slot back. Called by the session that held it."""
        # In front: the slot whose prefix is warm is the next to be given out.
        self._free.insert(0, slot)

    def start(self, call: _Call) -> None:
        """Run ``call`` on a thread of this model."""
        self._threads.submit(call.run, self._server)


class _Call:
    """One blocking completion on a thread, its pieces handed to an asyncio queue."""

    def __init__(self, request: dict[str, Any], *, one_piece: bool) -> None:
        self._request = request
        self._one_piece = one_piece
        self._stop = threading.Event()
        self._loop = asyncio.get_running_loop()
        # Full-policy: never full (see the constant); a piece beyond it would be a bug and raises.
        self.pieces: asyncio.Queue[str | ProviderError | None] = asyncio.Queue(_MAX_QUEUED_PIECES)

    def stop(self) -> None:
        """Stop at the next token or prompt step."""
        self._stop.set()

    def run(self, server: xllamacpp.Server) -> None:
        end: ProviderError | None = None
        try:
            if not self._stop.is_set():
                server.handle_chat_completions(self._request, self._on_chunk)
        except Exception as error:  # noqa: BLE001 - the binding raises untyped errors
            end = ProviderError(f"the language model failed: {error}", retryable=True)
        self._put(end)

    def _on_chunk(self, chunk: dict[str, Any]) -> bool:
        if self._stop.is_set():
            return True
        if "error" in chunk:
            self._put(
                ProviderError(f"the language model refused: {chunk['error']}", retryable=True)
            )
            return True
        choices = chunk.get("choices") or ()
        text = choices[0].get("delta", {}).get("content") if choices else None
        if text:
            self._put(text)
            return self._one_piece
        return False

    def _put(self, item: str | ProviderError | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.pieces.put_nowait, item)


class LlamaSession:
    """One conversation's slot. Calls on it run one after another."""

    def __init__(self, model: LlamaLanguageModel, slot: int) -> None:
        self._model = model
        self._slot = slot
        self._open = True
        self._turn = asyncio.Lock()

    async def prime(self, messages: Sequence[Message]) -> None:
        """Evaluate the prompt so far, so that it is in the slot's cache."""
        # A prompt cannot be evaluated without making a token: make one and drop it.
        options = GenerationOptions(temperature=0.0, max_tokens=1)
        async for _ in self._pieces(messages, options, one_piece=True):
            pass

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        """Yield the reply token by token."""
        async for piece in self._pieces(messages, options, one_piece=False):
            yield piece

    def close(self) -> None:
        """Give the slot back."""
        if self._open:
            self._open = False
            self._model.release(self._slot)

    async def _pieces(
        self, messages: Sequence[Message], options: GenerationOptions, *, one_piece: bool
    ) -> AsyncIterator[str]:
        async with self._turn:
            call = _Call(self._request(messages, options), one_piece=one_piece)
            self._model.start(call)
            try:
                while (piece := await call.pieces.get()) is not None:
                    if isinstance(piece, ProviderError):
                        raise piece
                    yield piece
            finally:
                call.stop()

    def _request(self, messages: Sequence[Message], options: GenerationOptions) -> dict[str, Any]:
        request: dict[str, Any] = {
            "messages": [{"role": m.role.value, "content": m.text} for m in messages],
            "stream": True,
            "cache_prompt": True,
            "id_slot": self._slot,
            "return_progress": True,
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "repeat_penalty": _REPEAT_PENALTY,
            "repeat_last_n": _REPEAT_LAST_TOKENS,
        }
        if options.stop:
            request["stop"] = list(options.stop)
        if options.seed is not None:
            request["seed"] = options.seed
        if messages and messages[-1].role is Role.ASSISTANT:
            request["continue_final_message"] = True
            request["add_generation_prompt"] = False
        return request
