"""Parley's turn-taking over recordings, on the time line of the audio.

The pure machine of `services.ai.turn_taking` is driven as the pipeline engine drives it, with the
same frames, pre-roll and models. Time is simulated: a message of audio comes when its last sample
has been spoken, and an answer of a model comes as much later as the model computed for it.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Sequence
from contextlib import aclosing
from itertools import count

from bench.live import RATE_HZ
from bench.turn_models import TurnModels
from bench.turns_cases import Case
from services.ai.capabilities import LEARNER_RATE_HZ, GenerationOptions, Message, Transcript
from services.ai.engine import Floor, TurnTakingPreferences
from services.ai.engines.utterance import Microphone, Utterance
from services.ai.prompts.builder import PromptContext, reply_messages
from services.ai.sentence_ends import TellsSentenceEnds
from services.ai.streams import closable
from services.ai.turn_taking import (
    AskAgain,
    Committed,
    Effect,
    Event,
    FloorChanged,
    Paused,
    PauseWords,
    SentenceEnd,
    Speculate,
    Started,
    TurnScore,
    TurnTaking,
    VoiceFrame,
)

_MESSAGE = RATE_HZ // 50
# How old the last caption is when a pause is seen: on average half the engine's step between two.
_CAPTION_AGE = LEARNER_RATE_HZ * 3 // 10


# A caption has primed all words but these when a pause is seen.
_UNPRIMED_WORDS = 2


class Reader:
    """Asks the language model whether words end a sentence, once for each text."""

    def __init__(self, models: TurnModels) -> None:
        self._model = models.language_model
        self._threads = models.language_threads
        self._known: dict[str, tuple[float | None, float]] = {}

    async def sentence_end(self, words: str) -> tuple[float | None, float]:
        """Return the model's probability, None without one, and the seconds that it took.

        They are of the CPU, shared out to the model's threads, which compute together.
        """
        if words not in self._known:
            self._known[words] = await self._read(words)
        return self._known[words]

    async def _read(self, words: str) -> tuple[float | None, float]:
        session = self._model.open() if self._model is not None and words else None
        if session is None:
            return None, 0.0
        told: list[float] = []
        try:
            if isinstance(session, TellsSentenceEnds):
                session.on_sentence_end(told.append)
                await session.prime(_prompt(" ".join(words.split()[:-_UNPRIMED_WORDS])))
                started = time.process_time()
                reply = session.stream(_prompt(words), GenerationOptions(max_tokens=1))
                async with aclosing(closable(reply)) as pieces:
                    async for _ in pieces:
                        break
                cost_s = (time.process_time() - started) / self._threads
                return (told[0] if told else None), cost_s
            return None, 0.0
        finally:
            session.close()


def _prompt(words: str) -> Sequence[Message]:
    return reply_messages(PromptContext(), (), words)


class HeardCase:
    """A case with what the models say of it, asked once for all settings of patience.

    Which pauses there are depends on the voice alone; only whether a turn ends in one depends on
    the setting.
    """

    def __init__(self, models: TurnModels, case: Case, reader: Reader | None = None) -> None:
        self.case = case
        self.reader = reader or Reader(models)
        self._models = models
        self._transcripts: dict[tuple[int, int], tuple[Transcript, float]] = {}
        self._scores: dict[int, tuple[float, float]] = {}
        frame = models.voice_activity.capabilities.frame_samples
        stream = models.voice_activity.open()
        audio = case.audio[: len(case.audio) - len(case.audio) % frame]
        self._voice = [stream.probability(each) for each in audio.reshape(-1, frame)]
        self.frame_samples = frame

    def voice(self, position: int) -> float:
        """Return the voice activity of the frame that ends at `position`."""
        return self._voice[position // self.frame_samples - 1]

    async def transcript(self, start: int, end: int) -> tuple[Transcript, float]:
        """Return the transcript of a stretch, and the seconds that it took."""
        if (start, end) not in self._transcripts:
            session = self._models.recognizer.open()
            captioned = max(start, end - _CAPTION_AGE)
            session.feed(self.case.audio[start:captioned])
            await session.partial()
            session.feed(self.case.audio[captioned:end])
            known = await session.final()
            session.close()
            self._transcripts[start, end] = (known, self._models.pool.cost_s)
        return self._transcripts[start, end]

    async def score(self, end: int) -> tuple[float, float]:
        """Return the turn detector's score of what comes before `end`, and its seconds."""
        if end not in self._scores:
            window = int(self._models.turn_detector.capabilities.window_s * LEARNER_RATE_HZ)
            begin = max(0, end - window)
            known = await self._models.turn_detector.end_of_turn(self.case.audio[begin:end])
            self._scores[end] = (known, self._models.pool.cost_s)
        return self._scores[end]


class _Listener:
    """One case heard with one setting."""

    def __init__(self, heard: HeardCase, preferences: TurnTakingPreferences) -> None:
        self._heard = heard
        self._turns = TurnTaking(preferences)
        self._microphone = Microphone(0, heard.frame_samples)
        self._due: list[tuple[float, int, Event]] = []
        self._order = count()
        self._start = 0
        # The transcript of each pause, and when it was there.
        self._transcripts: dict[int, tuple[Transcript, float]] = {}
        self.ended_at: list[float] = []

    async def hear(self) -> list[float]:
        """Return when each turn had ended with its transcript known, in seconds."""
        audio = self._heard.case.audio
        for end in range(_MESSAGE, len(audio) + 1, _MESSAGE):
            now_s = end / RATE_HZ
            while self._due and self._due[0][0] <= now_s:
                at_s, _, event = heapq.heappop(self._due)
                await self._tell(event, at_s)
            for frame in self._microphone.frames(audio[end - _MESSAGE : end], now_s):
                self._microphone.take(frame)
                voice = self._heard.voice(self._microphone.position)
                await self._tell(VoiceFrame(voice, len(frame)), now_s)
        return self.ended_at

    async def _tell(self, event: Event, now_s: float) -> None:
        for effect in self._turns.handle(event, self._microphone.position):
            await self._apply(effect, now_s)

    async def _apply(self, effect: Effect, now_s: float) -> None:
        position = self._microphone.position
        match effect:
            case Started(start):
                wanted = Utterance.pre_roll_samples(start, position)
                self._start = position - len(self._microphone.before(wanted))
            case Paused(pause, _):
                transcript, cost_s = await self._heard.transcript(self._start, position)
                self._transcripts[pause] = (transcript, now_s + cost_s)
                self._later(now_s + cost_s, PauseWords(pause, transcript.verbatim))
                await self._ask(pause, now_s)
            case AskAgain(pause):
                await self._ask(pause, now_s)
            case Speculate(pause):
                transcript, known_s = self._transcripts[pause]
                likely, cost_s = await self._heard.reader.sentence_end(transcript.clean)
                if likely is not None:
                    self._later(max(now_s, known_s) + cost_s, SentenceEnd(pause, likely))
            case Committed(_, _, pause):
                transcript, known_s = self._transcripts[pause]
                # The tutor is taken to be silent at once: what follows is the learner's again.
                self._later(now_s, FloorChanged(Floor.LEARNER, cut_short=True))
                if transcript.clean:
                    self.ended_at.append(max(now_s, known_s))
            case _:
                # After more speech, answers about the pause still come: the machine knows them.
                pass

    async def _ask(self, pause: int, now_s: float) -> None:
        score, cost_s = await self._heard.score(self._microphone.position)
        self._later(now_s + cost_s, TurnScore(pause, score))

    def _later(self, at_s: float, event: Event) -> None:
        heapq.heappush(self._due, (at_s, next(self._order), event))


def hear(heard: HeardCase, patience: float) -> list[float]:
    """Return when each turn of a case had ended, in seconds, for a learner not met before."""
    preferences = TurnTakingPreferences(patience=patience, no_hints=True)
    return asyncio.run(_Listener(heard, preferences).hear())
