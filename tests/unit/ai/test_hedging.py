"""Two providers at once, where the first is slow to begin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from services.ai.adapters.scripted import ScriptedLanguageModel
from services.ai.capabilities import GenerationOptions, Message, ProviderError, Role
from services.ai.fallback import FallbackLanguageModel, Named, Switch, record_switches
from services.ai.script import Script
from services.ai.streams import closable

ASKED = [Message(Role.USER, "Hi")]
OPTIONS = GenerationOptions()


class Model(ScriptedLanguageModel):
    """Says its words, or fails, once it is let."""

    def __init__(
        self, *words: str, error: ProviderError | None = None, waits: bool = False
    ) -> None:
        super().__init__(Script())
        self.words = words
        self.error = error
        self.go = asyncio.Event()
        self.stopped = False
        self.begun = 0
        if not waits:
            self.go.set()

    def open(self) -> Writing:  # type: ignore[override]
        return Writing(self)


class Writing:
    def __init__(self, model: Model) -> None:
        self._model = model

    async def prime(self, messages: Sequence[Message]) -> None:
        return

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        model = self._model
        model.begun += 1
        try:
            await model.go.wait()
            if model.error is not None:
                raise model.error
            for word in model.words:
                yield word
        finally:
            model.stopped = True

    def close(self) -> None:
        return


async def written(*models: Model, after_s: float = 0.02) -> tuple[str, list[Switch]]:
    switches: list[Switch] = []
    record_switches(switches)
    chain = FallbackLanguageModel(
        [Named(f"model-{index}", each) for index, each in enumerate(models)], after_s
    )
    session = chain.open()
    async with aclosing(closable(session.stream(ASKED, OPTIONS))) as pieces:
        text = "".join([piece async for piece in pieces])
    session.close()
    return text, switches


async def test_who_begins_in_time_is_asked_alone():
    first, second = Model("a", "b"), Model("c")
    assert await written(first, second, after_s=5) == ("ab", [])
    assert second.begun == 0


async def test_who_is_late_is_overtaken_and_stopped_and_the_note_says_so():
    first, second = Model("a", waits=True), Model("b", "c")
    text, switches = await written(first, second)
    assert text == "bc"
    assert first.stopped
    (switch,) = switches
    assert (switch.failed, switch.served) == ("model-0", "model-1")
    assert switch.note == "model-0 failed: no first word within 20 ms"


async def test_the_first_may_still_win():
    first, second = Model("a", waits=True), Model("b", waits=True)
    writing = asyncio.create_task(written(first, second))
    async with asyncio.timeout(5):
        while not second.begun:
            await asyncio.sleep(0.01)
    first.go.set()
    assert await writing == ("a", [])
    assert second.stopped


async def test_a_failure_brings_the_next_at_once():
    broken = ProviderError("it broke", retryable=True)
    text, switches = await written(Model(error=broken), Model("b"), after_s=60)
    assert text == "b"
    assert [each.note for each in switches] == ["model-0 failed: it broke"]


async def test_where_all_fail_the_last_failure_is_told():
    first = ProviderError("one", retryable=True)
    last = ProviderError("two", retryable=True)
    with pytest.raises(ProviderError, match="two"):
        await written(Model(error=first), Model(error=last))


async def test_what_another_cannot_do_either_is_told_at_once():
    broken = ProviderError("no", retryable=False)
    second = Model("b")
    with pytest.raises(ProviderError, match="no"):
        await written(Model(error=broken), second, after_s=60)
    assert second.begun == 0


async def test_whoever_stops_listening_stops_both():
    first, second = Model("a", waits=True), Model("b", waits=True)
    writing = asyncio.create_task(written(first, second))
    async with asyncio.timeout(5):
        while not second.begun:
            await asyncio.sleep(0.01)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert first.stopped
    assert second.stopped
