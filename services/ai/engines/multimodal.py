"""The multimodal engine: a speech-to-speech model behind the same interface as the pipeline.

Turns are taken by the same machine, from the same voice activity and turn detector; the model is
told of speech, of pauses and of the end, and hears only speech. What it says back is held until its
words for the utterance are there, since a turn begins with what the learner said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import structlog

from services.ai.audio import ms_of_samples, pcm_from_bytes
from services.ai.capabilities import (
    EMPTY_TRANSCRIPT,
    LEARNER_RATE_HZ,
    Pcm16,
    ProviderBusyError,
    ProviderError,
    Transcript,
    TurnDetector,
    VoiceActivityDetector,
)
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
    TurnCommitted,
    TypedText,
    Usage,
    Used,
    UtteranceDropped,
    UtteranceSource,
)
from services.ai.engines.speech_line import SpeechLine
from services.ai.engines.speech_reply import Credit, SpeechReply
from services.ai.engines.speech_talk import SpeechTalk
from services.ai.engines.stages import Marks, StageNames
from services.ai.engines.utterance import Microphone, Utterance
from services.ai.fallback import Named, check_one_rate
from services.ai.outbox import Outbox
from services.ai.speech_model import (
    Ask,
    AskKind,
    LearnerWords,
    ReplyDone,
    SpeechEvent,
    SpeechModel,
    TutorAudio,
    TutorWords,
    WordsFailed,
)
from services.ai.transcripts import clean_text, time_words, transcript_of
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
    SilentLong,
    Started,
    TurnScore,
    TurnTaking,
    UtteranceResolved,
    VoiceFrame,
)

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# Words that come while they are said are a little late; after this long without one, all are there.
_STILL_S = 0.3
# Words come with the reply or a little after it. A reply that waits longer for them is heard late;
# a turn without words is of no use afterwards.
_WORDS_GRACE_S = 4.0


@dataclass(frozen=True, slots=True)
class MultimodalModels:
    """The chain of speech-to-speech models, and what hears speech and its end."""

    voice_activity: VoiceActivityDetector
    turn_detector: TurnDetector
    speech_models: Sequence[Named[SpeechModel]]
    turn_detector_name: str = ""


class MultimodalEngine:
    """Opens sessions of one chain of models."""

    def __init__(self, name: str, title: str, models: MultimodalModels) -> None:
        """Raises ``ProviderError`` where the models of the chain differ in their output rate."""
        self._name = name
        self._title = title
        self._models = models
        self._open = 0
        capabilities = [each.provider.capabilities for each in models.speech_models]
        check_one_rate(
            [
                (model.name, each.output_rate_hz)
                for model, each in zip(models.speech_models, capabilities, strict=True)
            ]
        )
        self._capabilities = capabilities[0]

    @property
    def description(self) -> EngineDescription:
        """What the first choice can do."""
        first = self._capabilities
        return EngineDescription(
            name=self._name,
            title=self._title,
            capabilities=EngineCapabilities(
                partial_transcripts=first.partials,
                word_times=False,
                speculation=False,
                speech_to_speech=True,
                languages=first.languages,
            ),
            output_rate_hz=first.output_rate_hz,
            voices=first.voices,
        )

    def open(self, config: SessionConfig) -> MultimodalSession:
        """Start a session. Raises ``ProviderBusyError`` when the first choice has no room."""
        if self._open >= self._capabilities.max_sessions:
            name = self._models.speech_models[0].name
            raise ProviderBusyError(f"{name} has as many conversations as it may have")
        self._open += 1
        return MultimodalSession(self._models, config, self._closed)

    def _closed(self) -> None:
        self._open -= 1


@dataclass(slots=True)
class _Spoken:
    """The utterance under way, or the one whose words are awaited."""

    start: int
    audio_start: int
    speech_end: int
    audio: list[Pcm16] = field(default_factory=list)
    in_pause: list[Pcm16] = field(default_factory=list)
    pause: int = 0
    paused: bool = False
    words: LearnerWords = field(default_factory=lambda: LearnerWords("", settled=False))
    failure: str = ""
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class MultimodalSession:
    """One live session. See the module's docstring and ``EngineSession``."""

    def __init__(
        self, models: MultimodalModels, config: SessionConfig, on_close: Callable[[], None]
    ) -> None:
        self._models = models
        self.used = Used()
        self._outbox = Outbox()
        self._turns = TurnTaking(config.turn_taking, config.first_sample)
        frame = models.voice_activity.capabilities.frame_samples
        self._microphone = Microphone(config.first_sample, frame)
        self._voice_activity = models.voice_activity.open()
        self._capabilities = models.speech_models[0].provider.capabilities
        self._talk = SpeechTalk(config, self._capabilities)
        self._line = SpeechLine(
            models.speech_models, self._talk.briefing, self._on_event, self._on_failure
        )
        self._next_turn = config.next_turn
        self._utterance: _Spoken | None = None
        self._awaited: _Spoken | None = None
        self._commit: asyncio.Task[None] | None = None
        self._reply: SpeechReply | None = None
        self._saying: asyncio.Task[None] | None = None
        self._said_detector_failed = False
        self._on_close: Callable[[], None] | None = on_close
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
                line = tasks.create_task(self._line.run())
                early, self._early = self._early, []
                for event in early:
                    self.handle(event)
                await ended.wait()
                await self._drain()
                line.cancel()
        finally:
            self._tasks = None
            self.close()

    def close(self) -> None:
        """Give back what the session holds. Idempotent; ``run`` does it at its end."""
        self._utterance = self._awaited = None
        if self._reply is not None:
            self._reply.abandon()
        self._outbox.close()
        if self._on_close is not None:
            self._on_close()
            self._on_close = None

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
            case Interrupt(generation, heard_text, heard_ms):
                self._on_interrupt(generation, heard_text, heard_ms)
            case ReplyHeard():
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
                self._pass_on(self._utterance, frame)
            probability = self._voice_activity.probability(frame)
            self._tell(VoiceFrame(probability, len(frame)))

    def _pass_on(self, utterance: _Spoken, frame: Pcm16) -> None:
        """Send speech; what comes in a pause only when speech goes on after it."""
        utterance.audio.append(frame)
        if utterance.paused:
            utterance.in_pause.append(frame)
        else:
            self._line.hear(frame)

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
            case Resumed():
                self._on_resumed()
            case Committed(_, speech_end, _):
                self._on_committed(speech_end)
            case Dropped(reason):
                self._utterance = None
                self._line.forget()
                self._outbox.put(UtteranceDropped(reason.value))
            case SilentLong(silence):
                self._outbox.put(LongSilence(ms_of_samples(silence)))

    def _on_started(self, start: int) -> None:
        microphone = self._microphone
        wanted = Utterance.pre_roll_samples(start, microphone.position)
        pre_roll = microphone.before(wanted)
        self._utterance = _Spoken(start, microphone.position - len(pre_roll), start)
        self._pass_on(self._utterance, pre_roll)
        self._outbox.put(SpeechStarted(ms_of_samples(start)))

    def _on_paused(self, pause: int, speech_end: int) -> None:
        utterance = self._utterance
        if utterance is None:
            return
        utterance.speech_end = speech_end
        utterance.pause = pause
        utterance.paused = True
        self._outbox.put(SpeechEnded(ms_of_samples(speech_end)))
        self._line.pause()
        self._spawn(self._ask_turn_detector(pause))
        if self._capabilities.partials:
            self._spawn(self._tell_words(utterance, pause))

    async def _tell_words(self, spoken: _Spoken, pause: int) -> None:
        """Tell the words of a pause once no more of them come, which the model does not say."""
        told = ""
        while True:
            text = spoken.words.text
            await asyncio.sleep(_STILL_S)
            if spoken is not self._utterance or not spoken.paused or spoken.pause != pause:
                return
            if text != told and text == spoken.words.text:
                told = text
                self._tell(PauseWords(pause, text))

    def _on_resumed(self) -> None:
        utterance = self._utterance
        if utterance is None:
            return
        utterance.paused = False
        utterance.settled.clear()
        for frame in utterance.in_pause:
            self._line.hear(frame)
        utterance.in_pause.clear()

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

    # --- what the model says ------------------------------------------------------------------

    def _on_event(self, event: SpeechEvent) -> None:
        match event:
            case LearnerWords():
                self._on_words(event)
            case WordsFailed(message):
                spoken = self._awaited or self._utterance
                if spoken is not None:
                    spoken.failure = message
                    spoken.settled.set()
            case TutorWords() | TutorAudio():
                self._on_piece(event)
            case ReplyDone():
                if self._reply is not None:
                    self._reply.finish(event)

    def _on_words(self, words: LearnerWords) -> None:
        spoken = self._awaited if words.over or self._utterance is None else self._utterance
        if spoken is None:
            return
        spoken.words = words
        spoken.failure = ""
        if words.settled:
            spoken.settled.set()
        if spoken is not self._utterance:
            return
        if words.text:
            self._show(spoken, self._transcript(spoken), final=False)
        # Of words that may not be all, the last would look like the middle of a sentence.
        if spoken.paused and words.settled:
            self._tell(PauseWords(spoken.pause, words.text))

    def _on_piece(self, piece: TutorWords | TutorAudio) -> None:
        reply = self._reply
        if reply is None or reply.complete:
            return
        self._talk.begun()
        reply.add(piece)
        if reply.is_full:
            self._line.stop(reply.generation, reply.audio_ms)
            reply.finish(ReplyDone())

    def _on_failure(self, error: ProviderError) -> None:
        reply = self._reply
        if reply is None or reply.complete:
            return
        self._talk.begun()
        if self._awaited is not None and not self._awaited.words.text:
            # Nobody knows what was said, so there is nothing to answer or to keep.
            self._awaited.failure = str(error)
            self._awaited.settled.set()
            return
        if self._awaited is not None:
            self._awaited.settled.set()
        reply.fail(error)

    # --- turns ----------------------------------------------------------------------------------

    def _on_committed(self, speech_end: int) -> None:
        spoken, self._utterance = self._utterance, None
        if spoken is None:
            return
        spoken.speech_end = speech_end
        marks = Marks(self._microphone.spoken_at(speech_end), decision=time.monotonic())
        reply = self._begin(AskKind.UTTERANCE, "", marks)
        self._awaited = spoken
        self._commit = self._spawn(self._commit_utterance(spoken, reply))

    async def _commit_utterance(self, spoken: _Spoken, reply: SpeechReply) -> None:
        try:
            async with asyncio.timeout(_WORDS_GRACE_S):
                await spoken.settled.wait()
        except TimeoutError:
            spoken.failure = f"{self._line.serving} did not say what it heard"
        if self._awaited is spoken:
            self._awaited = None
        if reply is not self._reply:
            # Another turn has begun meanwhile; it takes the place of this one.
            return
        transcript = self._transcript(spoken)
        if not transcript.clean:
            self._drop(reply, spoken.failure)
            return
        reply.marks.transcript = time.monotonic()
        self._show(spoken, transcript, final=True)
        self._announce(
            reply,
            UtteranceSource.SPEECH,
            transcript,
            ms_of_samples(spoken.audio_start),
            ms_of_samples(spoken.speech_end),
        )

    def _drop(self, reply: SpeechReply, failure: str) -> None:
        """Forget an utterance in which there was nothing, or nothing that could be made out."""
        self._silence()
        self._talk.drop()
        self._line.stop(reply.generation, 0)
        if failure:
            self._outbox.put(Notice(FailureReason.RECOGNIZER, failure))
        self._outbox.put(UtteranceDropped("empty"))
        self._tell(FloorChanged(Floor.LEARNER))

    def _on_typed(self, text: str) -> None:
        transcript = Transcript(verbatim=text, clean=text.strip(), confidence=1.0)
        now = time.monotonic()
        reply = self._begin(AskKind.TEXT, text, Marks(now, now, now))
        self._answer_at_once(reply, UtteranceSource.TEXT, transcript)

    def _on_request(self, purpose: ReplyPurpose) -> None:
        now = time.monotonic()
        line = self._talk.opening_line if purpose is ReplyPurpose.OPENING else ""
        kind = AskKind.LINE if line else AskKind.PROMPT
        text = line or self._talk.prompt(purpose)
        reply = self._begin(kind, text, Marks(now, now))
        self._answer_at_once(reply, UtteranceSource.NONE, EMPTY_TRANSCRIPT)

    def _answer_at_once(
        self, reply: SpeechReply, source: UtteranceSource, transcript: Transcript
    ) -> None:
        self._tell(FloorChanged(Floor.TUTOR))
        now_ms = ms_of_samples(self._microphone.position)
        self._announce(reply, source, transcript, now_ms, now_ms)

    def _begin(self, kind: AskKind, text: str, marks: Marks) -> SpeechReply:
        """Ask for a reply in place of the one under way."""
        before = self._reply
        if before is not None and not before.complete:
            # How much of it was heard is told later, by an interruption of its generation.
            self._line.stop(before.generation, 0 if self._awaited else before.audio_ms)
        self._silence()
        self._awaited = None
        generation = self._talk.next_generation()
        aloud = not self._talk.captions_only
        self._reply = reply = SpeechReply(
            generation=generation,
            marks=marks,
            rate_hz=self._capabilities.output_rate_hz,
            speed=self._talk.speed,
            aloud=aloud,
            outbox=self._outbox,
            used=self.used,
            on_text=lambda said: self._talk.said(generation, said),
        )
        self._saying = self._spawn(reply.run())
        self._line.ask(Ask(generation, kind, text, aloud))
        return reply

    def _announce(
        self,
        reply: SpeechReply,
        source: UtteranceSource,
        transcript: Transcript,
        start_ms: int,
        end_ms: int,
    ) -> None:
        self._talk.begin_turn(transcript.clean, reply.generation)
        self.used.audio_in_ms += transcript.audio_ms
        self._outbox.put(
            TurnCommitted(
                turn=self._next_turn,
                generation=reply.generation,
                source=source,
                transcript=transcript,
                start_ms=start_ms,
                end_ms=end_ms,
                typical_pause_ms=self._turns.typical_pause_ms,
            )
        )
        reply.release(self._next_turn, Usage(audio_in_ms=transcript.audio_ms), self._credit)
        self._next_turn += 1

    def _credit(self) -> Credit:
        """Return who serves now: asked once the reply begins, since that may be another."""
        serving = self._line.serving
        names = StageNames(self._models.turn_detector_name, serving, serving, serving)
        return names, self._line.switches

    def _on_interrupt(self, generation: int, heard_text: str, heard_ms: int) -> None:
        reply = self._reply
        if reply is not None and reply.generation <= generation:
            heard_ms = min(heard_ms or reply.place_of(heard_text), reply.audio_ms)
            self._silence()
        self._outbox.drop_reply(generation)
        self._talk.correct(generation, heard_text)
        self._line.stop(generation, heard_ms if heard_text.strip() else 0)
        self._tell(FloorChanged(Floor.LEARNER, cut_short=True))

    def _silence(self) -> None:
        """Say no more of the reply under way."""
        if self._saying is not None:
            self._saying.cancel()
            self._saying = None
        if self._reply is not None:
            self._outbox.drop_reply(self._reply.generation)
            self._reply.abandon()
            self._reply = None

    def _on_change(self, change: ChangeSettings) -> None:
        if change.turn_taking is not None:
            self._tell(PreferencesChanged(change.turn_taking))
        if self._talk.change(change):
            self._line.renew()

    # --- what was said --------------------------------------------------------------------------

    def _transcript(self, spoken: _Spoken) -> Transcript:
        texts = spoken.words.text.split()
        if not texts:
            return EMPTY_TRANSCRIPT
        if spoken is self._utterance:
            return Transcript(verbatim=" ".join(texts), clean=clean_text(texts))
        audio = np.concatenate(spoken.audio)
        words = time_words([(text, 1.0) for text in texts], audio, 0)
        return transcript_of(words, ms_of_samples(spoken.speech_end - spoken.audio_start))

    def _show(self, spoken: _Spoken, transcript: Transcript, *, final: bool) -> None:
        end = spoken.speech_end if final else self._microphone.position
        self._outbox.put(
            Heard(transcript, final, ms_of_samples(spoken.audio_start), ms_of_samples(end))
        )

    # --- tasks ------------------------------------------------------------------------------

    async def _drain(self) -> None:
        if self._commit is not None:
            await asyncio.wait([self._commit])
        if self._saying is not None:
            await asyncio.wait([self._saying])

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if self._tasks is None:
            raise RuntimeError("the session is not running")
        return self._tasks.create_task(work)
