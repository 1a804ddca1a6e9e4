"""Correctors: bounded, stopped at once, and never in a talk's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from services.ai.assessment.corrector import MAX_CORRECTIONS, RewritingCorrector
from services.ai.assessment.scripted import ScriptedCorrector
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelCapabilities,
    Message,
    ProviderBusyError,
    ProviderError,
    Role,
)
from services.ai.learner import CorrectionKind, HeardWord
from services.ai.script import CorrectorScript, Mistake


def heard(text: str) -> list[HeardWord]:
    return [HeardWord(word) for word in text.split()]


class Model:
    """Rewrites by a table; `gate` holds it back."""

    def __init__(self, better: dict[str, str] | None = None) -> None:
        self.better = better or {}
        self.asked: list[str] = []
        self.options: list[GenerationOptions] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.began = asyncio.Event()
        self.open_sessions = 0
        self.fails = False

    @property
    def capabilities(self) -> LanguageModelCapabilities:
        return LanguageModelCapabilities(2048, prompt_cache=True, max_sessions=1)

    @property
    def writing(self) -> int:
        return 0

    def open(self) -> Model:
        self.open_sessions += 1
        return self

    async def warm(self, messages: Sequence[Message]) -> None:
        raise AssertionError

    def count_tokens(self, text: str) -> int:
        return len(text)

    async def prime(self, messages: Sequence[Message]) -> None:
        raise AssertionError

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        assert messages[-1].role is Role.USER
        self.began.set()
        await self.gate.wait()
        if self.fails:
            raise ProviderError("it broke", retryable=True)
        said = messages[-1].text
        self.asked.append(said)
        self.options.append(options)
        for word in self.better.get(said, said).split():
            yield f"{word} "

    def close(self) -> None:
        self.open_sessions -= 1


class IdleModel(Model):
    """One that can write in idle time, and must be asked to."""

    def open(self) -> Model:
        raise AssertionError("a talk's place was taken")

    def open_spare(self) -> Model:
        return super().open()

    async def warm_spare(self, messages: Sequence[Message]) -> None:
        self.asked.append("warm")


async def test_each_sentence_is_looked_at_by_itself():
    model = Model({"She go to work by bus.": "She goes to work by bus."})
    found = await RewritingCorrector(model, "m").correct(
        heard("I like it here a lot. She go to work by bus.")
    )
    assert model.asked == ["I like it here a lot.", "She go to work by bus."]
    assert [(each.original, each.replacement, each.first_word) for each in found] == [
        ("go", "goes", 7)
    ]
    assert found[0].scorer.startswith("m+")
    assert model.options[0].temperature == 0


async def test_every_token_is_counted_also_of_what_broke_or_was_cancelled():
    class Breaking(Model):
        async def stream(
            self, messages: Sequence[Message], options: GenerationOptions
        ) -> AsyncIterator[str]:
            yield "I "
            yield "like "
            raise ProviderError("it broke", retryable=True)

    counted: list[None] = []
    corrector = RewritingCorrector(Model(), "m")
    await corrector.correct(heard("I like it here."), lambda: counted.append(None))
    assert len(counted) == 4
    with pytest.raises(ProviderError):
        await RewritingCorrector(Breaking(), "m").correct(
            heard("I like it here."), lambda: counted.append(None)
        )
    assert len(counted) == 6


async def test_few_are_told_and_then_nothing_more_is_looked_at():
    wrong, right = "She go and he go there.", "She goes and he goes there."
    model = Model({wrong: right})
    found = await RewritingCorrector(model, "m").correct(heard(" ".join([wrong] * 3)))
    assert len(found) == MAX_CORRECTIONS
    assert len(model.asked) == 1


async def test_a_monologue_costs_no_more_than_its_first_sentences():
    model = Model()
    await RewritingCorrector(model, "m").correct(heard("I like it here. " * 50))
    assert len(model.asked) == 4


async def test_what_has_no_whole_sentence_asks_nothing():
    model = Model()
    assert await RewritingCorrector(model, "m").correct(heard("To the park.")) == []
    assert await RewritingCorrector(model, "m").correct([]) == []
    assert not model.asked


async def test_idle_time_is_used_where_the_model_has_it():
    model = IdleModel()
    corrector = RewritingCorrector(model, "m")
    await corrector.warm()
    await corrector.correct(heard("I like it here."))
    assert model.asked == ["warm", "I like it here."]
    assert model.open_sessions == 0


async def test_one_too_many_is_refused_at_once():
    model = Model()
    model.gate.clear()
    corrector = RewritingCorrector(model, "m")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(corrector.correct(heard("I like it here.")))
        await model.began.wait()
        with pytest.raises(ProviderBusyError):
            await corrector.correct(heard("I like it here."))
        model.gate.set()
    assert await corrector.correct(heard("I like it here.")) == []


async def test_cancelling_gives_the_place_back():
    model = Model()
    model.gate.clear()
    corrector = RewritingCorrector(model, "m")
    task = asyncio.create_task(corrector.correct(heard("I like it here.")))
    await model.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.open_sessions == 0
    model.gate.set()
    assert await corrector.correct(heard("I like it here.")) == []


async def test_a_failure_gives_the_place_back():
    model = Model()
    model.fails = True
    with pytest.raises(ProviderError):
        await RewritingCorrector(model, "m").correct(heard("I like it here."))
    assert model.open_sessions == 0


async def test_the_script_corrects_its_phrases_wherever_they_are_said():
    mistake = Mistake(original="I has", replacement="I have", kind="vocabulary", explanation="So.")
    corrector = ScriptedCorrector(CorrectorScript(mistakes=(mistake,)))
    await corrector.warm()
    (one,) = await corrector.correct(heard("Well, i HAS, a dog."))
    assert (one.original, one.replacement, one.first_word, one.end_word) == (
        "i HAS",
        "I have",
        1,
        3,
    )
    assert (one.kind, one.explanation) == (CorrectionKind.VOCABULARY, "So.")
    assert await corrector.correct(heard("She has a dog.")) == []


async def test_the_script_takes_its_time():
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    corrector = ScriptedCorrector(CorrectorScript(delay_ms=250), sleep)
    (one,) = await corrector.correct(heard("Yesterday I go home."))
    assert (one.original, one.replacement) == ("Yesterday I go", "Yesterday I went")
    assert slept == [0.25]
