"""A turn while it happens: the utterance, and the reply on its way to the learner's ears. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import speech_pb2, turn_pb2
from services.conversation.heard import SpokenWord, TextPiece, heard_text, word_times
from services.conversation.pacing import Pacer
from services.conversation.playback import Playback
from services.conversation.stages import with_playing

# The contract's bounds of a stored turn; what is longer is cut, never refused.
_MAX_REPLY_CHARACTERS = 16_000
_MAX_REPLY_WORDS = 4_000


@dataclass(slots=True)
class OpenTurn:
    """One turn under way.

    Times named `…_at` are monotonic seconds; those named `…_ms` lie on the session's time line
    or, for `audio_ms` and `heard_ms`, in the reply's audio.

    engine_done: everything of the reply has come from the engine.
    outcome: how the reply ended at the engine; COMPLETED until it says otherwise.
    speech_ended_at: when the end of the learner's speech arrived here; None without an utterance.
    """

    turn_id: str
    number: int
    generation: int
    kind: conversation_pb2.ReplyKind.ValueType
    source: turn_pb2.UtteranceSource.ValueType
    utterance: speech_pb2.Transcript
    start_ms: int
    end_ms: int
    opened_at: float
    speech_ended_at: float | None
    captions_only: bool
    pacer: Pacer = field(default_factory=Pacer)
    playback: Playback = field(default_factory=Playback)
    pieces: list[TextPiece] = field(default_factory=list)
    audio_ms: int = 0
    engine_text: str = ""
    engine_done: bool = False
    engine_began: bool = False
    outcome: turn_pb2.ReplyEndReason.ValueType = turn_pb2.REPLY_END_REASON_COMPLETED
    first_audio_at: float | None = None
    engine_stages: Sequence[turn_pb2.Stage] = ()
    stages: list[turn_pb2.Stage] = field(default_factory=list)
    reply_start_ms: float = 0.0
    play_delay_ms: float | None = None
    unrecorded: deque[tuple[float, int, bytes]] = field(default_factory=deque)

    def add_text(self, message: ai_pb2.EngineReplyText) -> int:
        """Keep a piece of the reply's text; return its index."""
        words = tuple(
            SpokenWord(word.text, word.start_ms, word.end_ms, word.times_estimated)
            for word in message.words
        )
        self.pieces.append(TextPiece(message.text, message.audio_offset_ms, words))
        return len(self.pieces) - 1

    @property
    def text(self) -> str:
        """The reply as far as the engine has made it."""
        return self.engine_text or "".join(piece.text for piece in self.pieces).strip()

    def heard(self, heard_ms: int) -> str:
        """Return what was heard of the reply's text after `heard_ms` of its audio."""
        if self.captions_only:
            # Nothing was played: what was shown was read.
            return "".join(piece.text for piece in self.pieces).strip()
        return heard_text(self.pieces, self.audio_ms, heard_ms)

    def record_sent(self, at_ms: float, offset_ms: int, pcm: bytes) -> None:
        """Remember sent audio until it is heard. `at_ms` is its place on the session's line."""
        self.unrecorded.append((at_ms, offset_ms, pcm))

    def played_audio(
        self, heard_ms: int, rate_hz: int, *, last: bool
    ) -> Iterator[tuple[float, bytes]]:
        """Take out the audio that was played up to `heard_ms`, with its place.

        `last`: no more will be played, so a piece that was played in part is cut there.
        """
        while self.unrecorded:
            at_ms, offset_ms, pcm = self.unrecorded[0]
            length_ms = len(pcm) // 2 * 1000 / rate_hz
            if offset_ms + length_ms <= heard_ms + 1:
                self.unrecorded.popleft()
                yield at_ms, pcm
                continue
            if last and heard_ms > offset_ms:
                yield at_ms, pcm[: (heard_ms - offset_ms) * rate_hz // 1000 * 2]
            break
        if last:
            self.unrecorded.clear()

    def to_turn(
        self,
        reason: turn_pb2.ReplyEndReason.ValueType,
        heard_ms: int,
        heard_text: str,
        now: float,
        *,
        engine: str,
        started_at: datetime,
    ) -> turn_pb2.Turn:
        """Return the turn as it is kept. `started_at` is the time of day of `opened_at`."""
        turn = turn_pb2.Turn(
            turn_id=self.turn_id,
            number=self.number,
            source=self.source,
            utterance=self.utterance,
            utterance_start_ms=self.start_ms,
            utterance_end_ms=self.end_ms,
            reply_text=self.text[:_MAX_REPLY_CHARACTERS],
            heard_text=heard_text[:_MAX_REPLY_CHARACTERS],
            heard_ms=heard_ms,
            reply_start_ms=int(self.reply_start_ms),
            reply_ms=self.audio_ms,
            reply_end_reason=reason,
            generation=self.generation,
            stages=with_playing(self.stages, self.play_delay_ms),
            engine=engine,
        )
        # The utterance began before the turn was committed, by its own length and the wait.
        spoke = timedelta(seconds=0)
        if self.speech_ended_at is not None:
            waited = self.opened_at - self.speech_ended_at
            spoke = timedelta(seconds=max(0.0, waited), milliseconds=self.end_ms - self.start_ms)
        turn.started_at.FromDatetime(started_at - spoke)
        turn.ended_at.FromDatetime(started_at + timedelta(seconds=now - self.opened_at))
        turn.reply_words.extend(
            speech_pb2.Word(
                text=word.text,
                start_ms=word.start_ms,
                end_ms=word.end_ms,
                times_estimated=word.estimated,
            )
            for word in word_times(self.pieces, self.audio_ms)[:_MAX_REPLY_WORDS]
        )
        return turn
