"""The pipeline engine over scripted models: what a session says, and when it keeps silent."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from services.ai.adapters.scripted import (
    ScriptedLanguageModel,
    ScriptedRecognizer,
    ScriptedSynthesizer,
    ScriptedTurnDetector,
    ScriptedVad,
    ScriptedWriting,
)
from services.ai.capabilities import GenerationOptions, Message, Recognizer, Role
from services.ai.compute import ComputePool
from services.ai.engine import (
    Audio,
    ChangeSettings,
    EndInput,
    EngineOutput,
    Heard,
    Interrupt,
    Notice,
    ReplyAudio,
    ReplyEnded,
    ReplyEndReason,
    ReplyHeard,
    ReplyPurpose,
    ReplyText,
    RequestReply,
    Resolve,
    SessionConfig,
    SpeechEnded,
    TurnCommitted,
    TypedText,
    UtteranceDropped,
)
from services.ai.engines.pipeline import PipelineEngine, PipelineModels, PipelineSession
from services.ai.learner import PastTurn
from services.ai.script import Script

FRAME = 640
LOUD = (np.sin(np.arange(320) / 5) * 8000).astype("<i2").tobytes()
QUIET = bytes(FRAME)
# Far more turns of the loop than any reply of a script without delays takes.
TURNS_OF_THE_LOOP = 200


class Watched(ScriptedLanguageModel):
    """A scripted model whose sessions the test can look at."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.sessions: list[ScriptedWriting] = []

    def open(self) -> ScriptedWriting:
        session = super().open()
        self.sessions.append(session)
        return session


class Talk:
    """One session and everything that it has said."""

    def __init__(self, session: PipelineSession, model: Watched, pool: ComputePool) -> None:
        self.session = session
        self.model = model
        self.pool = pool
        self.said: list[EngineOutput] = []

    async def read(self) -> None:
        while (output := await self.session.output()) is not None:
            self.said.append(output)

    async def hear(self, frame: bytes, ms: int) -> None:
        for _ in range(ms // 20):
            self.session.handle(Audio(frame))
            await asyncio.sleep(0)
        await settle()

    async def voice(self, ms: int) -> None:
        await self.hear(LOUD, ms)

    async def silence(self, ms: int) -> None:
        await self.hear(QUIET, ms)

    def of(self, kind: type) -> list:
        return [each for each in self.said if isinstance(each, kind)]

    @property
    def prompt(self) -> list[tuple[Role, str]]:
        """The last prompt without its system message."""
        messages = self.model.sessions[-1].prompts[-1]
        return [(message.role, message.text) for message in messages[1:]]


async def settle() -> None:
    for _ in range(TURNS_OF_THE_LOOP):
        await asyncio.sleep(0)


@asynccontextmanager
async def talk(
    script: dict[str, object] | None = None,
    model_type: type[Watched] = Watched,
    recognizer: Recognizer | None = None,
    **config: object,
) -> AsyncIterator[Talk]:
    made = Script.model_validate(script or {})
    pool = ComputePool(1, 4)
    model = model_type(made)
    engine = PipelineEngine(
        "test",
        "Test",
        PipelineModels(
            voice_activity=ScriptedVad(),
            turn_detector=ScriptedTurnDetector(made),
            recognizer=recognizer or ScriptedRecognizer(made),
            language_model=model,
            synthesizer=ScriptedSynthesizer(made),
            pool=pool,
        ),
    )
    session = engine.open(SessionConfig(**config))
    talk = Talk(session, model, pool)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.run())
            tasks.create_task(talk.read())
            await settle()
            yield talk
            session.handle(EndInput())
    finally:
        pool.close()


def position(said: Sequence[EngineOutput], kind: type) -> int:
    return next(i for i, each in enumerate(said) if isinstance(each, kind))


async def test_a_turn_is_heard_committed_and_answered_in_this_order():
    async with talk() as t:
        await t.voice(1000)
        await t.silence(800)
    order = [position(t.said, kind) for kind in (SpeechEnded, TurnCommitted, ReplyText)]
    assert order == sorted(order)
    (committed,) = t.of(TurnCommitted)
    (ended,) = t.of(ReplyEnded)
    assert ended.generation == committed.generation
    assert ended.reason is ReplyEndReason.COMPLETED
    assert "".join(each.text for each in t.of(ReplyText)) == ended.text


async def test_a_speculation_is_silent_until_the_turn_is_committed():
    async with talk({"turn_detector": {"score": 0.4}}) as t:
        await t.voice(1000)
        await t.silence(240)
        assert len(t.model.sessions[0].prompts) == 1
        assert t.of(ReplyText) == []
        assert t.of(ReplyAudio) == []
        await t.silence(2000)
    assert len(t.model.sessions[0].prompts) == 1
    assert t.of(ReplyEnded)[0].usage.speculations == 1


async def test_nothing_of_a_discarded_speculation_is_ever_said():
    async with talk({"turn_detector": {"score": 0.4}}) as t:
        await t.voice(600)
        await t.silence(240)
        await t.voice(600)
        await t.silence(2000)
    (committed,) = t.of(TurnCommitted)
    replies = [*t.of(ReplyText), *t.of(ReplyAudio), *t.of(ReplyEnded)]
    assert {each.generation for each in replies} == {committed.generation}
    assert committed.generation == 2
    assert t.of(ReplyEnded)[0].usage.speculations_discarded == 1
    # Told with the turn as well: a reply that is interrupted has no end.
    assert (committed.speculations, committed.speculations_discarded) == (2, 1)


async def test_a_speculation_that_a_typed_text_took_the_place_of_is_counted_as_discarded():
    async with talk({"turn_detector": {"score": 0.4}}) as t:
        await t.voice(1000)
        await t.silence(240)
        t.session.handle(TypedText("never mind"))
        await settle()
        await t.voice(300)
        t.session.handle(Resolve(take=True))
        await t.silence(3000)
    typed, spoken = t.of(TurnCommitted)
    assert (typed.speculations, typed.speculations_discarded) == (0, 0)
    assert (spoken.speculations, spoken.speculations_discarded) == (2, 1)


async def test_a_speculation_that_holds_has_its_work_done_before_the_decision():
    async with talk({"turn_detector": {"score": 0.4}}) as t:
        await t.voice(1000)
        await t.silence(2000)
    stages = {stage.kind.value: stage for stage in t.of(ReplyAudio)[0].stages}
    assert stages["first_token"].duration_ms == 0
    assert stages["first_token"].at_ms <= stages["endpoint"].at_ms


class FindsEnds(ScriptedWriting):
    """One conversation of a scripted model that finds every sentence finished."""

    def on_sentence_end(self, tell: Callable[[float], None]) -> None:
        self._tell = tell

    async def stream(
        self, messages: Sequence[Message], options: GenerationOptions
    ) -> AsyncIterator[str]:
        self._tell(1.0)
        async for piece in super().stream(messages, options):
            yield piece


class Reading(Watched):
    """A scripted model of such conversations."""

    def open(self) -> ScriptedWriting:
        session = FindsEnds(self._script, self._sleep)
        self.sessions.append(session)
        return session


@pytest.mark.parametrize(
    ("model", "not_by_ms", "by_ms"), [(Watched, 2200, 2600), (Reading, 60, 300)]
)
async def test_the_models_opinion_of_the_words_ends_a_turn_in_doubt(
    model: type[Watched], not_by_ms: int, by_ms: int
):
    script = {
        "turn_detector": {"score": 0.35},
        "recognizer": {"texts": ["Jack likes the science class"]},
    }
    async with talk(script, model_type=model) as t:
        await t.voice(1000)
        await t.silence(not_by_ms)
        assert t.of(TurnCommitted) == []
        await t.silence(by_ms - not_by_ms)
        assert len(t.of(TurnCommitted)) == 1


async def test_the_turn_detector_is_asked_again_in_a_pause_that_goes_on(
    monkeypatch: pytest.MonkeyPatch,
):
    heard: list[int] = []

    async def unsure(_: ScriptedTurnDetector, audio: np.ndarray) -> float:
        heard.append(len(audio))
        return 0.1

    monkeypatch.setattr(ScriptedTurnDetector, "end_of_turn", unsure)
    async with talk() as t:
        await t.voice(1000)
        await t.silence(2000)
        assert len(heard) == 2
        assert heard[1] > heard[0]


async def test_a_loaded_machine_does_not_speculate_until_it_has_time():
    async with talk({"turn_detector": {"score": 0.4}}) as t:
        others_are_done = threading.Event()
        others = [asyncio.create_task(t.pool.run(others_are_done.wait)) for _ in range(3)]
        try:
            await t.voice(1000)
            await t.silence(240)
            await t.voice(300)
            await t.silence(500)
            assert t.model.sessions[0].prompts == []
        finally:
            others_are_done.set()
        await asyncio.gather(*others)
        await t.silence(100)
        assert len(t.model.sessions[0].prompts) == 1
        await t.silence(2500)
    # What was refused before used up none of the two.
    assert t.of(ReplyEnded)[0].usage.speculations == 1


async def test_no_guess_slows_another_learners_answer():
    class Writing(Watched):
        @property
        def writing(self):
            return 1

    async with talk({"turn_detector": {"score": 0.4}}, model_type=Writing) as t:
        await t.voice(1000)
        await t.silence(240)
        assert t.model.sessions[0].prompts == []
        await t.silence(2500)
    assert t.of(ReplyEnded)[0].usage.speculations == 0


async def test_of_an_interrupted_reply_the_next_prompt_holds_what_was_heard():
    async with talk() as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        generation = t.of(TurnCommitted)[0].generation
        t.session.handle(Interrupt(generation, "Nice to"))
        t.session.handle(TypedText("And you?"))
        await settle()
    assert t.prompt == [
        (Role.USER, "Hello"),
        (Role.ASSISTANT, "Nice to"),
        (Role.USER, "And you?"),
    ]


async def test_a_reply_that_was_never_heard_is_never_remembered():
    async with talk() as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        t.session.handle(Interrupt(t.of(TurnCommitted)[0].generation, ""))
        t.session.handle(TypedText("my friend"))
        await settle()
    assert t.prompt == [(Role.USER, "Hello my friend")]


async def test_an_interrupted_reply_says_nothing_more():
    slow = {"language_model": {"replies": ["One. " * 12], "token_ms": 1}}
    async with talk(slow) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        generation = t.of(TurnCommitted)[0].generation
        t.session.handle(Interrupt(generation, ""))
        said = len(t.said)
        await settle()
    assert [each for each in t.said[said:] if getattr(each, "generation", 0) == generation] == []


async def test_a_new_turn_silences_the_reply_before_it():
    slow = {"language_model": {"replies": ["One. " * 12], "token_ms": 1}}
    async with talk(slow) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        t.session.handle(TypedText("Stop"))
        await settle()
    first, second = t.of(TurnCommitted)
    after = t.said[t.said.index(second) :]
    assert {getattr(each, "generation", 0) for each in after} == {second.generation}
    assert first.generation < second.generation


async def test_a_turn_in_which_nothing_was_recognised_is_dropped():
    async with talk({"recognizer": {"texts": ["um"]}}) as t:
        await t.voice(400)
        await t.silence(4000)
        await t.voice(400)
        await t.silence(4000)
    assert [each.reason for each in t.of(UtteranceDropped)] == ["empty", "empty"]
    assert t.of(TurnCommitted) == []


async def test_a_failing_recognizer_is_told_and_the_next_utterance_is_heard():
    fault = {"fault": [{"where": "recognizer", "on_call": 1}]}
    async with talk(fault) as t:
        await t.voice(400)
        await t.silence(2000)
        await t.voice(400)
        await t.silence(2000)
    assert [notice.reason.value for notice in t.of(Notice)] == ["RECOGNIZER_FAILED"]
    assert len(t.of(TurnCommitted)) == 1


async def test_a_failing_turn_detector_only_makes_the_turn_longer():
    async with talk({"fault": [{"where": "turn_detector", "every": True}]}) as t:
        await t.voice(400)
        await t.silence(2500)
    assert len(t.of(ReplyEnded)) == 1


async def test_a_failing_synthesizer_leaves_the_words():
    async with talk({"fault": [{"where": "synthesizer", "every": True}]}) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
    (ended,) = t.of(ReplyEnded)
    assert ended.reason is ReplyEndReason.FAILED
    assert ended.text == "Nice to meet you! What do you like to do?"
    assert ended.audio_ms == 0
    assert [notice.reason.value for notice in t.of(Notice)] == ["SYNTHESIZER_FAILED"]


async def test_words_that_were_never_voiced_are_not_remembered():
    """The learner heard the first sentence only; the second was shown, and is no memory."""
    script: dict[str, object] = {
        "fault": [{"where": "synthesizer", "on_call": 2}],
        "language_model": {"replies": ["Nice to meet you! What do you like? Tell me!"]},
    }
    async with talk(script) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        (ended,) = t.of(ReplyEnded)
        t.session.handle(TypedText("And you?"))
        await settle()
    assert ended.reason is ReplyEndReason.FAILED
    assert ended.text == "Nice to meet you! What do you like? Tell me!"
    assert ended.audio_ms == 4 * 300, "a voice that failed does not come back after a gap"
    assert t.prompt[1] == (Role.ASSISTANT, "Nice to meet you!")


async def test_captions_are_remembered_though_nothing_is_voiced():
    async with talk(captions_only=True) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        t.session.handle(TypedText("And you?"))
        await settle()
    assert t.of(ReplyEnded)[0].reason is ReplyEndReason.COMPLETED
    assert t.prompt[1] == (Role.ASSISTANT, t.of(ReplyEnded)[0].text)


@pytest.mark.parametrize("after_pieces", [0, 5])
async def test_a_failing_language_model_fails_the_reply_and_keeps_what_there_is(
    after_pieces: int,
):
    fault = {"fault": [{"where": "language_model", "after_pieces": after_pieces}]}
    async with talk(fault) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
    (ended,) = t.of(ReplyEnded)
    assert ended.reason is ReplyEndReason.FAILED
    assert bool(ended.text) == bool(after_pieces)
    assert [notice.reason.value for notice in t.of(Notice)] == ["LANGUAGE_MODEL_FAILED"]


@pytest.mark.parametrize("reply", ["```print(1)```", "...", "Learner: Hello"])
async def test_a_model_with_nothing_to_say_does_not_leave_the_learner_in_silence(reply: str):
    async with talk({"language_model": {"replies": [reply]}}) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
    assert t.of(ReplyEnded)[0].text == "Hmm, could you say that in another way?"
    assert t.of(ReplyAudio) != []


async def test_a_model_that_does_not_stop_is_stopped_after_three_sentences():
    async with talk({"language_model": {"replies": ["Yes. " * 40]}}) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
    assert t.of(ReplyEnded)[0].text == "Yes. Yes. Yes."


@pytest.mark.parametrize("sentence", ["It was very nice. ", "It was very nice.\n"])
async def test_a_model_that_says_itself_again_is_stopped(sentence: str):
    async with talk({"language_model": {"replies": ["What was it? " + sentence * 9]}}) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
    assert t.of(ReplyEnded)[0].text == "What was it? It was very nice."


async def test_words_and_audio_of_a_reply_stand_on_one_time_line():
    async with talk() as t:
        t.session.handle(TypedText("Hello"))
        await settle()
    words = [word for each in t.of(ReplyText) for word in each.words]
    assert [word.text for word in words] == t.of(ReplyEnded)[0].text.split()
    assert [word.start_ms for word in words] == [300 * i for i in range(len(words))]
    offsets = [each.offset_ms for each in t.of(ReplyAudio)]
    assert offsets == sorted(offsets)


async def test_captions_only_makes_no_audio():
    async with talk(captions_only=True) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        t.session.handle(ChangeSettings(captions_only=False))
        t.session.handle(TypedText("Hello again"))
        await settle()
    assert {each.turn for each in t.of(ReplyAudio)} == {2}
    assert {each.turn for each in t.of(ReplyText)} == {1, 2}


async def test_a_hint_does_not_put_words_into_the_learners_mouth():
    async with talk(history=(PastTurn("Hi", "Hello!"),)) as t:
        t.session.handle(RequestReply(ReplyPurpose.HINT))
        await settle()
        t.session.handle(ReplyHeard(t.of(TurnCommitted)[0].generation))
        t.session.handle(TypedText("Yes"))
        await settle()
    assert (Role.USER, "Yes") in t.prompt
    assert not any("silent" in text for _, text in t.prompt)


async def test_who_asks_for_time_and_says_no_more_is_helped():
    async with talk({"recognizer": {"texts": ["Um, let me think.", "Dogs."]}}) as t:
        await t.voice(1000)
        await t.silence(9_500)
        (committed,) = t.of(TurnCommitted)
        assert any("Help" in text for _, text in t.prompt)
        t.session.handle(ReplyHeard(committed.generation))
        t.session.handle(TypedText("Let me think"))
        await settle()
    # It is kept as it was said, and no writer has been silent.
    assert (Role.USER, "Let me think.") in t.prompt
    assert t.prompt[-1] == (Role.USER, "Let me think")


async def test_captions_come_while_the_learner_speaks():
    async with talk() as t:
        await t.voice(2000)
        captions = [each for each in t.of(Heard) if not each.final]
        assert len(captions) >= 2
        assert "Hello, my name is Ana.".startswith(captions[0].transcript.verbatim)


async def test_input_before_the_session_runs_is_not_lost():
    pool = ComputePool(1, 4)
    script = Script()
    engine = PipelineEngine(
        "test",
        "Test",
        PipelineModels(
            voice_activity=ScriptedVad(),
            turn_detector=ScriptedTurnDetector(script),
            recognizer=ScriptedRecognizer(script),
            language_model=ScriptedLanguageModel(script),
            synthesizer=ScriptedSynthesizer(script),
            pool=pool,
        ),
    )
    session = engine.open(SessionConfig())
    session.handle(TypedText("Hello"))
    session.handle(EndInput())
    await session.run()
    outputs = []
    while (output := await session.output()) is not None:
        outputs.append(output)
    pool.close()
    assert isinstance(outputs[-1], ReplyEnded)


async def test_a_cancelled_session_gives_its_place_back():
    model = Watched(Script())
    pool = ComputePool(1, 4)
    script = Script()
    models = PipelineModels(
        voice_activity=ScriptedVad(),
        turn_detector=ScriptedTurnDetector(script),
        recognizer=ScriptedRecognizer(script),
        language_model=model,
        synthesizer=ScriptedSynthesizer(script),
        pool=pool,
    )
    session = PipelineEngine("test", "Test", models).open(SessionConfig())
    running = asyncio.create_task(session.run())
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    pool.close()
    assert not model.sessions[0].is_open


class Cached(Watched):
    """A model whose prompts stay evaluated."""

    @property
    def capabilities(self):
        return replace(super().capabilities, prompt_cache=True)


async def test_what_was_heard_of_a_reply_is_evaluated_before_the_next_words():
    async with talk(model_type=Cached) as t:
        t.session.handle(TypedText("Hello"))
        await settle()
        t.session.handle(Interrupt(t.of(TurnCommitted)[0].generation, "Nice to"))
        await settle()
        last = t.model.sessions[0].primed[-1][-1]
    assert (last.role, last.text) == (Role.ASSISTANT, "Nice to")


async def test_in_every_turn_words_are_evaluated_ahead_while_more_are_said():
    text = "I like to cook with my family and my friends every day of the week"
    async with talk({"recognizer": {"texts": [text]}}, model_type=Cached) as t:
        for turn in (1, 2):
            primed = t.model.sessions[0].primed
            before = len(primed)
            await t.voice(4000)
            assert len(primed) > before, f"turn {turn}"
            assert text.startswith(primed[-1][-1].text)
            await t.silence(1000)
            t.session.handle(ReplyHeard(t.of(TurnCommitted)[-1].generation))
