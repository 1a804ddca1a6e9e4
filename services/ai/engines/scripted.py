"""The scripted engine: a live session without any model, for load and failure tests.

Turns are taken by the same machine as the pipeline's, on loudness; everything after that is the
script. Without scripted delays a session makes no task at all: what there is to say is said in the
call that brought the last of the silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from services.ai.adapters.scripted import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    ScriptedSynthesizer,
    is_loud,
    scripted_speech,
    scripted_transcript,
)
from services.ai.audio import ms_of_samples, pcm_from_bytes
from services.ai.capabilities import EMPTY_TRANSCRIPT, Pcm16, Transcript
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
    ReplyAudio,
    ReplyEnded,
    ReplyEndReason,
    ReplyHeard,
    ReplyPurpose,
    ReplyText,
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
from services.ai.engines.stages import Marks, StageNames, describe_stages
from services.ai.outbox import Outbox
from services.ai.script import Fault, Script, Where
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
    SilentLong,
    Started,
    TurnScore,
    TurnTaking,
    UtteranceResolved,
    VoiceFrame,
)

_AUDIO_MESSAGE_MS = 200
_AUDIO_MESSAGE_BYTES = 2 * SAMPLE_RATE_HZ * _AUDIO_MESSAGE_MS // 1000
_NAMES = StageNames("scripted", "scripted", "scripted", "scripted")


class ScriptedEngine:
    """Opens scripted sessions."""

    def __init__(self, name: str, script: Script) -> None:
        self._name = name
        self._script = script

    @property
    def description(self) -> EngineDescription:
        """What it pretends to be."""
        return EngineDescription(
            name=self._name,
            title="A script instead of models, for load and failure tests",
            capabilities=EngineCapabilities(
                partial_transcripts=True,
                word_times=True,
                speculation=False,
                speech_to_speech=False,
                languages=("en",),
            ),
            output_rate_hz=SAMPLE_RATE_HZ,
            voices=ScriptedSynthesizer(self._script).capabilities.voices,
        )

    def open(self, config: SessionConfig) -> ScriptedSession:
        """Start a session."""
        return ScriptedSession(self._script, config)


class ScriptedSession:
    """One live session of the script. See ``EngineSession``."""

    def __init__(self, script: Script, config: SessionConfig) -> None:
        self._script = script
        self._turns = TurnTaking(config.turn_taking, config.first_sample)
        self.used = Used()
        self._outbox = Outbox()
        self._position = config.first_sample
        self._voice = config.voice
        self._rate = config.speech_rate
        self._captions_only = config.captions_only
        self._opening = config.scenario.opening_line
        self._generation = config.last_generation
        self._turn = config.next_turn
        self._start = 0
        self._pause_text = ""
        self._peak = 0
        self._calls: dict[Where, int] = {}
        self._slow = _has_delays(script)
        self._reply: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Wait for the end of the input, and of a reply that the script makes slow."""
        try:
            await self._ended.wait()
            if self._reply is not None:
                await asyncio.wait([self._reply])
        finally:
            self.close()

    async def output(self) -> EngineOutput | None:
        """Return the next output, or None once the session has ended."""
        return await self._outbox.get()

    def close(self) -> None:
        """Stop a slow reply; there is nothing else to give back."""
        self._stop_reply()
        self._outbox.close()

    def handle(self, event: EngineInput) -> None:
        """Take one input."""
        match event:
            case Audio(pcm):
                samples = pcm_from_bytes(pcm)
                # Where many talk, a message holds silence and speech: each is judged by itself.
                for start in range(0, len(samples), FRAME_SAMPLES):
                    self._listen(samples[start : start + FRAME_SAMPLES])
            case TypedText(text):
                self._commit(UtteranceSource.TEXT, scripted_transcript(text, 0), self._position)
            case EndTurn():
                self._tell(EndRequested())
            case Interrupt(generation):
                if generation >= self._generation:
                    self._silence()
                self._outbox.drop_reply(generation)
                self._tell(FloorChanged(Floor.LEARNER, cut_short=True))
            case ReplyHeard():
                self._tell(FloorChanged(Floor.LEARNER))
            case SetFloor(floor):
                self._tell(FloorChanged(floor))
            case Resolve(take):
                self._tell(UtteranceResolved(take))
            case ChangeSettings():
                self._change(event)
            case RequestReply(purpose):
                opening = purpose is ReplyPurpose.OPENING and self._opening
                self._commit(
                    UtteranceSource.NONE, EMPTY_TRANSCRIPT, self._position, opening or None
                )
            case EndInput():
                self._tell(EndRequested())
                self._ended.set()

    # --- turns ------------------------------------------------------------------------------

    def _listen(self, frame: Pcm16) -> None:
        self._position += len(frame)
        self._peak = max(self._peak, int(frame.max()))
        self._tell(VoiceFrame(1.0 if is_loud(frame) else 0.0, len(frame)))

    def _tell(self, event: Event) -> None:
        for effect in self._turns.handle(event, self._position):
            self._apply(effect)

    def _apply(self, effect: Effect) -> None:
        match effect:
            case Started(start):
                self._start = start
                self._peak = 0
                self._pause_text = ""
                self._outbox.put(SpeechStarted(ms_of_samples(start)))
            case Paused(pause, speech_end):
                self._on_paused(pause, speech_end)
            case AskAgain(pause):
                self._tell(TurnScore(pause, self._script.turn_detector.score))
            case Committed(start, speech_end, _):
                self._on_committed(start, speech_end)
            case Dropped(reason):
                self._outbox.put(UtteranceDropped(reason.value))
            case SilentLong(silence):
                self._outbox.put(LongSilence(ms_of_samples(silence)))

    def _on_paused(self, pause: int, speech_end: int) -> None:
        self._outbox.put(SpeechEnded(ms_of_samples(speech_end)))
        utterance = self._calls.get("recognizer", 0)
        self._pause_text = self._script.recognizer.heard(utterance, self._peak)
        self._hear(self._start, speech_end, final=False)
        self._tell(TurnScore(pause, self._script.turn_detector.score))
        self._tell(PauseWords(pause, self._pause_text))

    def _hear(self, start: int, end: int, *, final: bool) -> Transcript:
        start_ms, end_ms = ms_of_samples(start), ms_of_samples(end)
        transcript = scripted_transcript(self._pause_text, end_ms - start_ms)
        self._outbox.put(Heard(transcript, final, start_ms, end_ms))
        return transcript

    def _on_committed(self, start: int, speech_end: int) -> None:
        if self._strike("recognizer") is not None:
            self._outbox.put(Notice(FailureReason.RECOGNIZER, "scripted fault"))
            self._outbox.put(UtteranceDropped("empty"))
            self._tell(FloorChanged(Floor.LEARNER))
            return
        transcript = self._hear(start, speech_end, final=True)
        self._commit(UtteranceSource.SPEECH, transcript, speech_end, start=start)

    def _commit(
        self,
        source: UtteranceSource,
        transcript: Transcript,
        speech_end: int,
        said: str | None = None,
        *,
        start: int | None = None,
    ) -> None:
        self._silence()
        self._tell(FloorChanged(Floor.TUTOR))
        self._generation += 1
        turn, self._turn = self._turn, self._turn + 1
        self.used.audio_in_ms += transcript.audio_ms
        self._outbox.put(
            TurnCommitted(
                turn=turn,
                generation=self._generation,
                source=source,
                transcript=transcript,
                start_ms=ms_of_samples(speech_end if start is None else start),
                end_ms=ms_of_samples(speech_end),
                typical_pause_ms=self._turns.typical_pause_ms,
            )
        )
        now = time.monotonic()
        marks = Marks(now - (self._position - speech_end) / 16_000, now, now)
        fault = self._strike("language_model")
        replies = self._script.language_model.replies
        text = said or replies[(self._calls["language_model"] - 1) % len(replies)]
        if self._slow:
            self._reply = asyncio.create_task(self._say_slowly(turn, text, marks, fault))
            return
        for item in self._reply_items(turn, self._generation, text, marks, fault):
            self._outbox.put(item)

    # --- the reply --------------------------------------------------------------------------

    async def _say_slowly(self, turn: int, text: str, marks: Marks, fault: Fault | None) -> None:
        model = self._script.language_model
        await asyncio.sleep((self._script.recognizer.delay_ms + model.first_token_ms) / 1000)
        marks.first_token = time.monotonic()
        words = len(text.split())
        await asyncio.sleep(
            (model.token_ms * words + self._script.synthesizer.first_audio_ms) / 1000
        )
        marks.first_clause = marks.first_audio = time.monotonic()
        for item in self._reply_items(turn, self._generation, text, marks, fault):
            if isinstance(item, ReplyAudio):
                await self._outbox.put_audio(item)
            else:
                self._outbox.put(item)

    def _reply_items(
        self, turn: int, generation: int, text: str, marks: Marks, fault: Fault | None
    ) -> Iterator[EngineOutput]:
        """Yield the whole reply, which a fault ends as FAILED, as it does the pipeline's.

        A language model's fault cuts it after so many words, a synthesizer's leaves them unsaid.
        """
        failure = None
        if fault is not None:
            text = " ".join(text.split()[: fault.after_pieces])
            failure = Notice(FailureReason.LANGUAGE_MODEL, fault.message, turn, generation)
        audio_ms = 0
        if text:
            struck = None if self._captions_only else self._strike("synthesizer")
            if struck is not None and failure is None:
                failure = Notice(FailureReason.SYNTHESIZER, struck.message, turn, generation)
            speech = scripted_speech(
                text, int(self._script.synthesizer.ms_per_word / self._rate), self._voice
            )
            silent = self._captions_only or struck is not None
            # Words that no audio says have no times.
            yield ReplyText(turn, generation, text, 0, () if silent else speech.words)
            pcm = b"" if silent else speech.pcm
            audio_ms = ms_of_samples(len(pcm) // 2, SAMPLE_RATE_HZ)
            for start in range(0, len(pcm), _AUDIO_MESSAGE_BYTES):
                yield ReplyAudio(
                    turn,
                    generation,
                    pcm[start : start + _AUDIO_MESSAGE_BYTES],
                    start * _AUDIO_MESSAGE_MS // _AUDIO_MESSAGE_BYTES,
                    () if start else describe_stages(marks, _NAMES, time.monotonic()),
                )
        if failure is not None:
            yield failure
        reason = ReplyEndReason.FAILED if failure is not None else ReplyEndReason.COMPLETED
        usage = Usage(output_tokens=len(text.split()), characters=len(text))
        self.used.output_tokens += usage.output_tokens
        self.used.characters += usage.characters
        yield ReplyEnded(turn, generation, reason, text, audio_ms, usage)

    def _silence(self) -> None:
        self._stop_reply()
        self._outbox.drop_reply(self._generation)

    def _stop_reply(self) -> None:
        if self._reply is not None:
            self._reply.cancel()
            self._reply = None

    def _strike(self, where: Where) -> Fault | None:
        call = self._calls[where] = self._calls.get(where, 0) + 1
        return self._script.fault_at(where, call) if self._script.fault else None

    def _change(self, change: ChangeSettings) -> None:
        if change.turn_taking is not None:
            self._tell(PreferencesChanged(change.turn_taking))
        self._voice = self._voice if change.voice is None else change.voice
        self._rate = self._rate if change.speech_rate is None else change.speech_rate
        if change.captions_only is not None:
            self._captions_only = change.captions_only


def _has_delays(script: Script) -> bool:
    return any(
        (
            script.recognizer.delay_ms,
            script.language_model.first_token_ms,
            script.language_model.token_ms,
            script.synthesizer.first_audio_ms,
        )
    )
