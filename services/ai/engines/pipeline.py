"""The pipeline engine: voice activity, turn detection, recognition, language, synthesis.

A session is one coroutine group around the pure ``TurnTaking`` machine. Audio is judged as it
comes, on the event loop; everything slow runs as a task and comes back as an event for the machine.

The path of a turn: while the learner speaks, captions are shown, each the draft of the next; at
every short pause the recognizer and the turn detector run at once; if the pause looks like the
end, the reply is prepared up to its first audio and held; the commit lets it go; more speech throws
it away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from services.ai.audio import ms_of_samples, pcm_from_bytes, samples_of_ms
from services.ai.capabilities import (
    EMPTY_TRANSCRIPT,
    LEARNER_RATE_HZ,
    HearsAgain,
    LanguageModel,
    Pcm16,
    ProviderError,
    RecognitionSession,
    Recognizer,
    Synthesizer,
    Transcript,
    TurnDetector,
    VoiceActivityDetector,
    WordTiming,
)
from services.ai.compute import ComputePool
from services.ai.engine import (
    Audio,
    ChangeSettings,
    EndInput,
    EndTurn,
    EngineCapabilities,
    EngineDescription,
    EngineInput,
    EngineOutput,
    FailureReason,
    Floor,
    Heard,
    Interrupt,
    LongSilence,
    Notice,
    ReplyHeard,
    ReplyPurpose,
    RequestReply,
    Resolve,
    SessionConfig,
    SetFloor,
    SpeechEnded,
    SpeechStarted,
    TranscriptRevised,
    TurnCommitted,
    TypedText,
    Usage,
    Used,
    UtteranceDropped,
    UtteranceSource,
)
from services.ai.engines.answering import Answering
from services.ai.engines.stages import Marks, StageNames
from services.ai.engines.utterance import Microphone, Utterance
from services.ai.fallback import record_switches
from services.ai.outbox import Outbox
from services.ai.prompts.builder import PromptContext, system_message
from services.ai.transcripts import clean_text
from services.ai.turn_taking import (
    AskAgain,
    Committed,
    Dropped,
    Effect,
    EndRequested,
    Event,
    FloorChanged,
    Paused,
    PauseWords,
    PreferencesChanged,
    Resumed,
    SentenceEnd,
    SilentLong,
    Speculate,
    SpeculationRefused,
    Started,
    TurnScore,
    TurnTaking,
    UtteranceResolved,
    VoiceFrame,
)

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# Captions: the first soon enough to tell words from a cough over the tutor's voice, later ones at
# a pace that can be read. Each costs about 60 ms on one core; it is the draft of the transcript at
# the next pause, so the younger the last one is, the sooner that is known.
FIRST_CAPTION = samples_of_ms(400)
CAPTION_EVERY = samples_of_ms(480)
# Above this load of the speech pool a speculation would slow somebody's committed turn.
_SPECULATION_LOAD = 1.5


@dataclass(frozen=True, slots=True)
class PipelineModels:
    """The providers that a pipeline joins, and the pool that the local ones share."""

    voice_activity: VoiceActivityDetector
    turn_detector: TurnDetector
    recognizer: Recognizer
    language_model: LanguageModel
    synthesizer: Synthesizer
    pool: ComputePool
    names: StageNames = field(default_factory=StageNames)


class PipelineEngine:
    """Opens pipeline sessions that share one set of models."""

    def __init__(self, name: str, title: str, models: PipelineModels) -> None:
        self._name = name
        self._title = title
        self._models = models

    @property
    def description(self) -> EngineDescription:
        """What the joined providers can do together."""
        recognizer = self._models.recognizer.capabilities
        synthesizer = self._models.synthesizer.capabilities
        return EngineDescription(
            name=self._name,
            title=self._title,
            capabilities=EngineCapabilities(
                partial_transcripts=recognizer.partials,
                word_times=recognizer.word_timing is WordTiming.ALIGNED,
                speculation=True,
                speech_to_speech=False,
                languages=recognizer.languages,
            ),
            output_rate_hz=synthesizer.sample_rate_hz,
            voices=synthesizer.voices,
        )

    async def warm(self) -> None:
        """Have the language model evaluate the rules that every session's prompt begins with."""
        await self._models.language_model.warm([system_message(PromptContext())])

    def open(self, config: SessionConfig) -> PipelineSession:
        """Start a session. Raises ``ProviderBusyError`` when the language model has no room."""
        return PipelineSession(self._models, config)


class PipelineSession:
    """One live session. See the module's docstring and ``EngineSession``."""

    def __init__(self, models: PipelineModels, config: SessionConfig) -> None:
        self._models = models
        self.used = Used()
        self._outbox = Outbox()
        self._turns = TurnTaking(config.turn_taking, config.first_sample)
        frame = models.voice_activity.capabilities.frame_samples
        self._microphone = Microphone(config.first_sample, frame)
        self._voice_activity = models.voice_activity.open()
        self._answering = Answering(
            config=config,
            language_model=models.language_model,
            synthesizer=models.synthesizer,
            names=models.names,
            outbox=self._outbox,
            used=self.used,
            spawn=self._spawn,
            on_sentence_end=lambda pause, likely: self._tell(SentenceEnd(pause, likely)),
        )
        self._next_turn = config.next_turn
        self._said_detector_failed = False
        self._utterance: Utterance | None = None
        self._commit: asyncio.Task[None] | None = None
        self._caption: asyncio.Task[None] | None = None
        self._hearing_again: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        # Full-policy: holds what comes before ``run`` has begun, which the caller starts at once.
        self._early: list[EngineInput] = []

    # --- EngineSession ----------------------------------------------------------------------

    async def run(self) -> None:
        """Work until the input has ended and the reply under way is finished."""
        ended = asyncio.Event()
        self._ended = ended
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._answering.prime_memory()
                early, self._early = self._early, []
                for event in early:
                    self.handle(event)
                await ended.wait()
                await self._drain()
        finally:
            self._tasks = None
            self.close()

    def close(self) -> None:
        """Give back what the session holds. Idempotent; ``run`` does it at its end."""
        self._forget_utterance()
        self._answering.close()
        self._outbox.close()

    async def output(self) -> EngineOutput | None:
        """Return the next output, or None once the session has ended."""
        return await self._outbox.get()

    def handle(self, event: EngineInput) -> None:
        """Take one input."""
        if self._tasks is None:
            self._early.append(event)
            return
        match event:
            case Audio(pcm):
                self._hear(pcm_from_bytes(pcm))
            case TypedText(text):
                self._on_typed(text)
            case EndTurn():
                self._tell(EndRequested())
            case Interrupt(generation, heard_text):
                self._stop_hearing_again()
                self._answering.interrupt(generation, heard_text)
                self._answering.prime_memory()
                self._tell(FloorChanged(Floor.LEARNER, cut_short=True))
            case ReplyHeard():
                self._stop_hearing_again()
                self._answering.prime_memory()
                self._tell(FloorChanged(Floor.LEARNER))
            case SetFloor(floor):
                self._tell(FloorChanged(floor))
            case Resolve(take):
                self._tell(UtteranceResolved(take))
            case ChangeSettings():
                self._on_change(event)
            case RequestReply(purpose):
                self._on_request(purpose)
            case EndInput():
                self._tell(EndRequested())
                self._ended.set()

    # --- listening --------------------------------------------------------------------------

    def _hear(self, audio: Pcm16) -> None:
        microphone = self._microphone
        for frame in microphone.frames(audio, time.monotonic()):
            microphone.take(frame)
            if self._utterance is not None:
                self._utterance.recognition.feed(frame)
            probability = self._voice_activity.probability(frame)
            self._tell(VoiceFrame(probability, len(frame)))
            if self._utterance is not None:
                self._caption_if_due(self._utterance)

    def _tell(self, event: Event) -> None:
        for effect in self._turns.handle(event, self._microphone.position):
            self._apply(effect)

    def _apply(self, effect: Effect) -> None:
        match effect:
            case Started(start):
                self._on_started(start)
            case Paused(pause, speech_end):
                self._on_paused(pause, speech_end)
            case AskAgain(pause):
                self._spawn(self._ask_turn_detector(pause))
            case Speculate(pause):
                self._on_speculate(pause)
            case Resumed(pause):
                self._on_resumed(pause)
            case Committed(_, speech_end, pause):
                self._on_committed(speech_end, pause)
            case Dropped(reason):
                speculations = self._utterance.speculations if self._utterance is not None else 0
                self._forget_utterance()
                self._outbox.put(UtteranceDropped(reason.value, speculations))
            case SilentLong(silence):
                self._outbox.put(LongSilence(ms_of_samples(silence)))

    def _on_started(self, start: int) -> None:
        microphone = self._microphone
        wanted = Utterance.pre_roll_samples(start, microphone.position)
        utterance = Utterance(
            self._models.recognizer.open(), start, microphone.before(wanted), microphone.position
        )
        utterance.next_caption = start + FIRST_CAPTION
        self._utterance = utterance
        self._outbox.put(SpeechStarted(ms_of_samples(start)))

    def _on_paused(self, pause: int, speech_end: int) -> None:
        utterance = self._utterance
        if utterance is None:
            return
        utterance.speech_end = speech_end
        self._outbox.put(SpeechEnded(ms_of_samples(speech_end)))
        utterance.transcripts[pause] = self._spawn(self._recognize(utterance, pause))
        self._spawn(self._ask_turn_detector(pause))

    def _on_resumed(self, pause: int) -> None:
        utterance = self._utterance
        if utterance is None:
            return
        utterance.transcripts.pop(pause).cancel()
        self._answering.discard(pause)

    def _caption_if_due(self, utterance: Utterance) -> None:
        position = self._microphone.position
        if position < utterance.next_caption or utterance.transcripts:
            return
        utterance.next_caption = position + CAPTION_EVERY
        if self._caption is None or self._caption.done():
            self._caption = self._spawn(self._show_caption(utterance))

    async def _show_caption(self, utterance: Utterance) -> None:
        try:
            text = await utterance.recognition.partial()
        except ProviderError:
            # A caption is a courtesy; the final transcript reports failures.
            return
        if not text or utterance is not self._utterance or utterance.transcripts:
            return
        clean = clean_text(text.split())
        self._show(utterance, Transcript(verbatim=text, clean=clean), final=False)
        if self._models.pool.is_idle:
            self._answering.prime_words(clean.split())

    async def _recognize(self, utterance: Utterance, pause: int) -> Transcript:
        record_switches(utterance.switches)
        try:
            transcript = await utterance.recognition.final()
        except ProviderError as error:
            self._outbox.put(Notice(FailureReason.RECOGNIZER, str(error)))
            transcript = EMPTY_TRANSCRIPT
        if utterance is self._utterance:
            if not transcript.is_empty:
                self._show(utterance, transcript, final=False)
            self._tell(PauseWords(pause, transcript.verbatim))
        return transcript

    async def _ask_turn_detector(self, pause: int) -> None:
        detector = self._models.turn_detector
        window = int(detector.capabilities.window_s * LEARNER_RATE_HZ)
        try:
            score = await detector.end_of_turn(self._microphone.before(window))
        except ProviderError as error:
            # Without a score the machine waits longer, which is the safe side.
            if not self._said_detector_failed:
                self._said_detector_failed = True
                _log.warning("turn_detector_failed", error=str(error))
            return
        self._tell(TurnScore(pause, score))

    def _show(self, utterance: Utterance, transcript: Transcript, *, final: bool) -> None:
        end = utterance.speech_end if final else self._microphone.position
        self._outbox.put(
            Heard(transcript, final, ms_of_samples(utterance.audio_start), ms_of_samples(end))
        )

    def _forget_utterance(self) -> None:
        if self._utterance is not None:
            self._utterance.close()
            self._utterance = None

    # --- answering --------------------------------------------------------------------------

    def _on_speculate(self, pause: int) -> None:
        utterance = self._utterance
        if utterance is None:
            return
        spoken_at = self._microphone.spoken_at(utterance.speech_end)
        if not self._is_loaded and self._answering.prepare(
            pause, utterance.transcripts[pause], spoken_at
        ):
            utterance.speculations += 1
        else:
            self._tell(SpeculationRefused(pause))

    @property
    def _is_loaded(self) -> bool:
        """Whether a guess would cost somebody's answer its time: here or in the language model."""
        models = self._models
        return models.pool.load > _SPECULATION_LOAD or models.language_model.writing > 0

    def _on_committed(self, speech_end: int, pause: int) -> None:
        utterance, self._utterance = self._utterance, None
        if utterance is None:
            return
        utterance.speech_end = speech_end
        marks = Marks(self._microphone.spoken_at(speech_end), decision=time.monotonic())
        self._commit = self._spawn(self._commit_utterance(utterance, pause, marks))

    async def _commit_utterance(self, utterance: Utterance, pause: int, marks: Marks) -> None:
        transcript = await utterance.transcripts[pause]
        if not transcript.clean:
            utterance.recognition.close()
            self._answering.discard(pause)
            self._tell(FloorChanged(Floor.LEARNER))
            self._outbox.put(UtteranceDropped("empty", utterance.speculations))
            return
        marks.transcript = time.monotonic()
        marks.switches += utterance.switches
        usage = Usage(
            audio_in_ms=transcript.audio_ms,
            speculations=utterance.speculations,
            # A typed text or a hint took the place of one as well as more speech.
            speculations_discarded=utterance.speculations - self._answering.has_prepared(pause),
        )
        again = _hears_again(utterance.recognition)
        self._show(utterance, transcript, final=True)
        generation = self._answering.answer(pause, transcript, marks)
        self._announce(
            generation,
            UtteranceSource.SPEECH,
            transcript,
            ms_of_samples(utterance.audio_start),
            ms_of_samples(utterance.speech_end),
            usage,
            will_be_revised=again is not None,
        )
        turn = self._next_turn - 1
        self._answering.speak(turn, usage)
        self._stop_hearing_again()
        if again is None:
            utterance.recognition.close()
        else:
            self._hearing_again = self._spawn(self._hear_again(again, turn, generation))

    async def _hear_again(self, again: HearsAgain, turn: int, generation: int) -> None:
        """Hear a turn's utterance again once its reply is complete, if nobody else waits then.

        The turn can be changed while its reply is being heard; after that nobody wants it.
        """
        expected = self._answering.expected_words
        try:
            await self._answering.written()
            revised = None if self._is_loaded else await again.again(expected)
        except ProviderError as error:
            # The first hearing stands.
            _log.info("not_heard_again", error=str(error))
            return
        finally:
            again.close()
        if revised is not None and revised.clean:
            self._outbox.put(TranscriptRevised(turn, generation, revised, again.again_by))

    def _stop_hearing_again(self) -> None:
        if self._hearing_again is not None:
            self._hearing_again.cancel()
            self._hearing_again = None

    def _on_typed(self, text: str) -> None:
        transcript = Transcript(verbatim=text, clean=text.strip(), confidence=1.0)
        now = time.monotonic()
        generation = self._answering.answer(0, transcript, Marks(now, now, now))
        self._answer_at_once(generation, UtteranceSource.TEXT, transcript)

    def _on_request(self, purpose: ReplyPurpose) -> None:
        now = time.monotonic()
        generation = self._answering.answer_unasked(purpose, Marks(now, now))
        self._answer_at_once(generation, UtteranceSource.NONE, EMPTY_TRANSCRIPT)

    def _answer_at_once(
        self, generation: int, source: UtteranceSource, transcript: Transcript
    ) -> None:
        self._tell(FloorChanged(Floor.TUTOR))
        now_ms = ms_of_samples(self._microphone.position)
        self._announce(generation, source, transcript, now_ms, now_ms, Usage())
        self._answering.speak(self._next_turn - 1, Usage())

    def _announce(
        self,
        generation: int,
        source: UtteranceSource,
        transcript: Transcript,
        start_ms: int,
        end_ms: int,
        usage: Usage,
        *,
        will_be_revised: bool = False,
    ) -> None:
        self.used.audio_in_ms += transcript.audio_ms
        self._outbox.put(
            TurnCommitted(
                turn=self._next_turn,
                generation=generation,
                source=source,
                transcript=transcript,
                start_ms=start_ms,
                end_ms=end_ms,
                typical_pause_ms=self._turns.typical_pause_ms,
                speculations=usage.speculations,
                speculations_discarded=usage.speculations_discarded,
                will_be_revised=will_be_revised,
            )
        )
        self._next_turn += 1

    def _on_change(self, change: ChangeSettings) -> None:
        if change.turn_taking is not None:
            self._tell(PreferencesChanged(change.turn_taking))
        self._answering.change(change)

    # --- tasks ------------------------------------------------------------------------------

    async def _drain(self) -> None:
        if self._commit is not None:
            await asyncio.wait([self._commit])
        await self._answering.finish()
        self._stop_hearing_again()
        self._answering.stop_priming()
        if self._caption is not None:
            self._caption.cancel()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if self._tasks is None:
            raise RuntimeError("the session is not running")
        return self._tasks.create_task(work)


def _hears_again(recognition: RecognitionSession) -> HearsAgain | None:
    """Return the recognition where it hears its utterance a second time."""
    return recognition if isinstance(recognition, HearsAgain) and recognition.again_by else None
