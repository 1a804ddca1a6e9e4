"""A session machine driven by hand, on a clock of its own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import learner_pb2, turn_pb2
from services.common.errors import ParleyError
from services.conversation import events
from services.conversation.events import Effect, Event
from services.conversation.session import Session
from services.conversation.session_config import SessionConfig

RATE_HZ = 24_000
WORD_MS = 300
START = datetime(2026, 1, 1, tzinfo=UTC)


class Drive:
    """Feeds a machine, moves its clock, and keeps everything that it says."""

    def __init__(self, **config: Any) -> None:
        settings: dict[str, Any] = {
            "conversation_id": "01900000-0000-7000-8000-00000000000a",
            "engine": "scripted",
            "started_at": START,
            "output_rate_hz": RATE_HZ,
            "turn_taking": learner_pb2.TurnTakingPreferences(),
        }
        self.now = 1_000.0
        self.session = Session(SessionConfig(**settings | config), self.now)
        self.effects: list[Effect] = []
        self.generation = config.get("last_generation", 0)

    def give(self, event: Event) -> list[Effect]:
        effects = self.session.handle(event, self.now)
        self.effects.extend(effects)
        return effects

    def client(self, **message: Any) -> list[Effect]:
        return self.give(events.FromClient(conversation_pb2.ConverseRequest(**message)))

    def engine(self, generation: int = 0, **message: Any) -> list[Effect]:
        return self.give(
            events.FromEngine(ai_pb2.ConverseResponse(generation=generation, **message))
        )

    def advance(self, seconds: float) -> list[Effect]:
        """Move the clock on, ticking whenever the machine asked to be."""
        until = self.now + seconds
        effects: list[Effect] = []
        ticks = 0
        while (at := self.session.deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            effects += self.give(events.Tick())
            ticks += 1
            assert ticks < 10_000, "the machine asks for the same tick for ever"
        self.now = until
        return effects

    # --- the engine's phrases -----------------------------------------------------------------

    def commit(self, text: str = "I like tea", source: Any = None) -> int:
        self.generation += 1
        self.engine(
            self.generation,
            turn_committed={
                "source": turn_pb2.UTTERANCE_SOURCE_SPEECH if source is None else source,
                "transcript": {"verbatim": text, "clean": text},
                "start_ms": 100,
                "end_ms": 900,
            },
        )
        return self.generation

    def speak(
        self,
        text: str,
        generation: int | None = None,
        *,
        end: bool = True,
        stages: Sequence[turn_pb2.Stage] = (),
    ) -> None:
        """Say `text`, a word every 300 ms; all comes at once, the first audio with `stages`."""
        generation = generation or self.generation
        for index, word in enumerate(text.split()):
            at = index * WORD_MS
            self.engine(
                generation,
                reply_text={
                    "text": f"{word} ",
                    "audio_offset_ms": at,
                    "words": [{"text": word, "start_ms": at, "end_ms": at + WORD_MS}],
                },
            )
            for part in range(3):
                pcm = bytes(RATE_HZ // 10 * 2)
                told = stages if index == part == 0 else ()
                self.engine(
                    generation,
                    reply_audio={"pcm": pcm, "offset_ms": at + part * 100, "stages": told},
                )
        if end:
            self.end(text, generation)

    def end(self, text: str, generation: int | None = None, reason: Any = None) -> None:
        self.engine(
            generation or self.generation,
            reply_ended={
                "reason": turn_pb2.REPLY_END_REASON_COMPLETED if reason is None else reason,
                "text": text,
            },
        )

    def learner_begins(self, at_ms: int = 0) -> list[Effect]:
        return self.engine(speech_started={"at_ms": at_ms})

    def learner_stops(self) -> list[Effect]:
        return self.engine(speech_ended={"at_ms": 0})

    def words(self, text: str, *, final: bool = False, end_ms: int = 0) -> list[Effect]:
        transcript = {"verbatim": text, "clean": text}
        return self.engine(transcript={"transcript": transcript, "final": final, "end_ms": end_ms})

    def lose_engine(self, error: ParleyError) -> list[Effect]:
        return self.give(events.EngineLost(error))

    # --- what was said ------------------------------------------------------------------------

    def sent(self, kind: str, effects: list[Effect] | None = None) -> list[Any]:
        """Return the responses of a kind."""
        return [
            getattr(each.response, kind)
            for each in (self.effects if effects is None else effects)
            if isinstance(each, events.Send) and each.response.HasField(kind)
        ]

    def told_engine(self, kind: str, effects: list[Effect] | None = None) -> list[Any]:
        """Return the messages of a kind to the engine."""
        return [
            getattr(each.request, kind)
            for each in (self.effects if effects is None else effects)
            if isinstance(each, events.ToEngine) and each.request.HasField(kind)
        ]

    def engine_kinds(self, effects: list[Effect]) -> list[str]:
        return [
            str(each.request.WhichOneof("message"))
            for each in effects
            if isinstance(each, events.ToEngine)
        ]

    @property
    def saves(self) -> list[events.SaveTurn]:
        return [each for each in self.effects if isinstance(each, events.SaveTurn)]

    @property
    def saved(self) -> list[turn_pb2.Turn]:
        return [each.turn for each in self.saves]

    @property
    def told(self) -> list[str]:
        return [each.error.reason for each in self.effects if isinstance(each, events.Tell)]

    @property
    def audio_ms(self) -> int:
        """How much reply audio was sent."""
        return sum(len(each.pcm) for each in self.sent("reply_audio")) // 2 * 1000 // RATE_HZ

    @property
    def recorded_ms(self) -> int:
        """How much of the tutor was recorded."""
        pcm = [each.pcm for each in self.effects if isinstance(each, events.RecordTutor)]
        return sum(map(len, pcm)) // 2 * 1000 // RATE_HZ
