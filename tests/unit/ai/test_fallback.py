"""When one provider fails, the next is asked, if nothing was said yet."""

from dataclasses import replace

import numpy as np
import pytest

from services.ai.adapters.scripted import (
    ScriptedLanguageModel,
    ScriptedRecognition,
    ScriptedRecognizer,
    ScriptedSynthesizer,
)
from services.ai.capabilities import (
    GenerationOptions,
    LanguageModelSession,
    ProviderBusyError,
    ProviderError,
    SynthesizerCapabilities,
    Transcript,
)
from services.ai.circuit import Circuit
from services.ai.fallback import (
    Capability,
    FallbackLanguageModel,
    FallbackRecognizer,
    FallbackSynthesizer,
    Named,
    Switch,
    record_switches,
)
from services.ai.script import Script


def script(where: str, **fault: object) -> Script:
    return Script.model_validate(
        {
            "language_model": {"replies": ["Hello from the first."]},
            "fault": [{"where": where, "every": True, **fault}],
        }
    )


def second() -> Script:
    return Script.model_validate({"language_model": {"replies": ["Hello from the second."]}})


async def written(session: LanguageModelSession) -> str:
    return "".join([piece async for piece in session.stream([], GenerationOptions())])


def models(first: Script) -> FallbackLanguageModel:
    return FallbackLanguageModel(
        [
            Named("first", ScriptedLanguageModel(first)),
            Named("second", ScriptedLanguageModel(second())),
        ]
    )


async def test_a_retryable_failure_before_any_output_goes_on_to_the_next():
    switches: list[Switch] = []
    record_switches(switches)
    session = models(script("language_model")).open()
    assert await written(session) == "Hello from the second."
    assert switches == [Switch(Capability.LANGUAGE_MODEL, "first", "second", "scripted fault")]
    session.close()


async def test_a_failure_after_output_is_raised():
    session = models(script("language_model", after_pieces=2)).open()
    with pytest.raises(ProviderError):
        await written(session)


async def test_a_failure_that_is_not_retryable_is_raised():
    session = models(script("language_model", retryable=False)).open()
    with pytest.raises(ProviderError):
        await written(session)


async def test_the_last_providers_failure_is_raised():
    broken = ScriptedLanguageModel(script("language_model"))
    session = FallbackLanguageModel([Named("only", broken)]).open()
    with pytest.raises(ProviderError):
        await written(session)


async def test_a_full_model_is_passed_over_when_a_place_is_taken():
    class Full(ScriptedLanguageModel):
        def open(self):
            raise ProviderBusyError("full")

    session = FallbackLanguageModel(
        [Named("full", Full(Script())), Named("second", ScriptedLanguageModel(second()))]
    ).open()
    assert await written(session) == "Hello from the second."


async def test_a_synthesizer_that_fails_is_replaced_with_the_others_own_voice():
    switches: list[Switch] = []
    record_switches(switches)
    synthesizer = FallbackSynthesizer(
        [
            Named("first", ScriptedSynthesizer(script("synthesizer"))),
            Named("second", ScriptedSynthesizer(Script())),
        ]
    )
    chunks = [chunk async for chunk in synthesizer.stream("one two", "tone", 1.0)]
    assert [word.text for chunk in chunks for word in chunk.words] == ["one", "two"]
    assert [switch.served for switch in switches] == ["second"]


async def test_a_recognizer_that_fails_is_replaced_by_one_that_heard_everything():
    recognizer = FallbackRecognizer(
        [
            Named("first", ScriptedRecognizer(script("recognizer"))),
            Named("second", ScriptedRecognizer(Script())),
        ]
    )
    session = recognizer.open()
    session.feed(np.zeros(16_000, np.int16))
    transcript = await session.final()
    session.close()
    assert transcript.verbatim == "Hello, my name is Ana."
    assert transcript.audio_ms == 1000


class Refusing(ScriptedRecognizer):
    """Counts the captions that it is asked for; refuses the words while it is ``busy``."""

    def __init__(self) -> None:
        super().__init__(Script())
        self.captions = 0
        self.busy = True

    def open(self) -> ScriptedRecognition:
        recognizer, session = self, super().open()

        class Session:
            feed, close = session.feed, session.close

            async def partial(self) -> str | None:
                recognizer.captions += 1
                return "of the first"

            async def final(self) -> Transcript:
                if recognizer.busy:
                    raise ProviderBusyError("429", retry_after_s=30.0)
                return await session.final()

        return Session()  # type: ignore[return-value]


async def heard_by(recognizer: FallbackRecognizer) -> tuple[str | None, str]:
    """Return the caption and the words of one utterance."""
    session = recognizer.open()
    session.feed(np.zeros(16_000, np.int16))
    caption = await session.partial()
    transcript = await session.final()
    session.close()
    return caption, transcript.verbatim


async def test_captions_are_of_the_first_that_is_not_left_alone_and_are_no_trial():
    now = [0.0]
    first, second = Refusing(), ScriptedRecognizer(Script())
    recognizer = FallbackRecognizer(
        [Named("first", first, Circuit(lambda: now[0])), Named("second", second)]
    )
    assert (await heard_by(recognizer))[0] == "of the first"
    for _ in range(3):
        caption, words = await heard_by(recognizer)
        assert caption
        assert words.startswith(caption)
    assert first.captions == 1
    # The time is over: the final words are the trial, and captions come back with them.
    now[0], first.busy = 31.0, False
    assert (await heard_by(recognizer))[0] != "of the first"
    assert (await heard_by(recognizer))[0] == "of the first"
    assert first.captions == 2


async def test_there_are_no_captions_while_all_are_left_alone():
    first, second = Refusing(), Refusing()
    session = FallbackRecognizer([Named("first", first), Named("second", second)]).open()
    with pytest.raises(ProviderBusyError):
        await session.final()
    assert await session.partial() is None
    assert (first.captions, second.captions) == (0, 0)


def test_synthesizers_of_different_rates_are_told_by_name_with_what_to_do():
    class Slow(ScriptedSynthesizer):
        @property
        def capabilities(self) -> SynthesizerCapabilities:
            return replace(super().capabilities, sample_rate_hz=16_000)

    with pytest.raises(ProviderError) as caught:
        FallbackSynthesizer(
            [Named("slow", Slow(Script())), Named("fast", ScriptedSynthesizer(Script()))]
        )
    assert "'slow' at 16000 Hz, 'fast' at 24000 Hz" in str(caught.value)
    assert "sample_rate_hz" in str(caught.value)
