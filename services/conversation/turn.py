"""A turn while it happens: the utterance, and the reply on its way to the learner's ears. Pure."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import speech_pb2, turn_pb2
from services.conversation import messages
from services.conversation.events import Effect, RecordTutor, Send
from services.conversation.heard import (
    SpokenWord,
    TextPiece,
    heard_text,
    text_between,
    word_times,
)
from services.conversation.pacing import Pacer, Piece
from services.conversation.playback import ASSUMED_DELAY_S, Playback
from services.conversation.stages import join_stages, with_playing

# The contract's bounds of a stored turn; what is longer is cut, never refused.
_MAX_REPLY_CHARACTERS = 16_000
_MAX_REPLY_WORDS = 4_000

# A turn under way is kept when more of its reply was sent than is kept, but not more often than
# this: it costs a database write. What was sent is heard later, and a reply is made faster than it
# is said, so this is once for each of its sentences.
_KEEP_EVERY_S = 0.4

_COMPLETED = turn_pb2.REPLY_END_REASON_COMPLETED

# What may follow a sentence's last mark.
_CLOSING = " \n\"')*\N{RIGHT DOUBLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"

# An echo is heard again within a room's and a device's delay, and recognised a little later.
_ECHO_MS = 4_000


@dataclass(slots=True)
class OpenTurn:
    """One turn under way.

    Times named `…_at` are monotonic seconds; those named `…_ms` lie on the session's time line
    or, for `audio_ms` and `heard_ms`, in the reply's audio.

    began: something of the reply has come from the engine. done: all of it has.
    outcome: how the reply ended at the engine; COMPLETED until it says otherwise. A reply with
        words that have no audio is FAILED whatever the engine says, unless captions are all that
        was wanted: nobody heard it to its end.
    retried: another engine was asked for the reply.
    typical_pause_ms: the engine's estimate of the learner's pauses; 0 where it has none.
    awaits_words: the engine will hear the utterance again, and may say it better once.
    speech_ended_at: when the end of the learner's speech arrived here; None without an utterance.
    stages: the parts of the silence between that and the sending of the first audio; none before.
    play_delay_ms: from receiving that audio until it sounded, as the client said; None before.
    received_ms: the network, both ways; None where it cannot be told from the client's report.
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
    rate_hz: int
    pacer: Pacer = field(default_factory=Pacer)
    playback: Playback = field(default_factory=Playback)
    pieces: list[TextPiece] = field(default_factory=list)
    audio_ms: int = 0
    began: bool = False
    done: bool = False
    retried: bool = False
    typical_pause_ms: int = 0
    awaits_words: bool = False
    outcome: turn_pb2.ReplyEndReason.ValueType = turn_pb2.REPLY_END_REASON_COMPLETED
    stages: list[turn_pb2.Stage] = field(default_factory=list)
    play_delay_ms: float | None = None
    received_ms: float | None = None
    reply_start_ms: float = 0.0
    _left_out: bool = False
    _whole_text: str = ""
    _first_audio_at: float | None = None
    _engine_stages: Sequence[turn_pb2.Stage] = ()
    _unrecorded: deque[tuple[float, Piece]] = field(default_factory=deque)
    _kept: tuple[int, bool] = (0, False)
    _kept_at: float = -math.inf

    @property
    def learner_text(self) -> str:
        """What the learner said, as the language model sees it."""
        return self.utterance.clean or self.utterance.verbatim

    @property
    def text(self) -> str:
        """The reply as far as the engine has made it."""
        return self._whole_text or "".join(piece.text for piece in self.pieces).strip()

    @property
    def all_sent(self) -> bool:
        """Whether the whole reply has come, and was sent."""
        return self.done and not self.pacer

    @property
    def asks(self) -> bool:
        """Whether the whole reply has come, and ends with a question."""
        return self.done and self.text.rstrip(_CLOSING).endswith("?")

    # --- from the engine ----------------------------------------------------------------------

    def revise(self, transcript: speech_pb2.Transcript) -> bool:
        """Take the words of a second hearing in the place of the first; False: not these.

        Once, and only those that were announced.
        """
        expected, self.awaits_words = self.awaits_words, False
        if not expected or not transcript.clean:
            return False
        self.utterance = transcript
        return True

    def add_text(self, message: ai_pb2.EngineReplyText) -> None:
        """Take a piece of the reply's text."""
        words = tuple(
            SpokenWord(word.text, word.start_ms, word.end_ms, word.times_estimated)
            for word in message.words
        )
        self.began = True
        self.pieces.append(TextPiece(message.text, message.audio_offset_ms, words))
        self.pacer.push(Piece(message.audio_offset_ms, 0, text_index=len(self.pieces) - 1))

    def add_audio(self, message: ai_pb2.EngineReplyAudio, now: float) -> bool:
        """Take a piece of the reply's audio; False when it is longer than is ever played."""
        self.began = True
        if self.captions_only:
            return True
        if self._first_audio_at is None:
            self._first_audio_at = now
            self._engine_stages = list(message.stages)
        duration_ms = len(message.pcm) // 2 * 1000 // self.rate_hz
        if not self.pacer.push(Piece(message.offset_ms, duration_ms, message.pcm)):
            self._left_out = True
            return False
        self.audio_ms = max(self.audio_ms, message.offset_ms + duration_ms)
        return True

    def finish(self, message: ai_pb2.EngineReplyEnded) -> None:
        """All of the reply has come."""
        self.began = self.done = True
        self._whole_text = message.text
        self.outcome = message.reason
        if self.outcome == _COMPLETED and self._unvoiced:
            self.outcome = turn_pb2.REPLY_END_REASON_FAILED

    @property
    def _unvoiced(self) -> bool:
        if self.captions_only:
            return False
        return self._left_out or (self.audio_ms == 0 and bool(self.text))

    # --- to the client ------------------------------------------------------------------------

    def send_due(self, now: float, origin: float) -> Iterator[Effect]:
        """Send what may be sent by `now`, and record what was played."""
        while (piece := self.pacer.pop_due(self._pacing_ms(now))) is not None:
            if piece.pcm:
                self._audio_sent(piece, now, origin)
                yield Send(
                    messages.reply_audio(self.number, self.generation, piece.pcm, piece.offset_ms)
                )
            else:
                text = self.pieces[piece.text_index]
                yield Send(messages.reply_text(self.number, self.generation, text))
        yield from self.record_played(self.playback.position_ms(now), last=False)

    def _pacing_ms(self, now: float) -> float:
        # Captions wait for no loudspeaker.
        return math.inf if self.captions_only else self.playback.running_ms(now)

    def _audio_sent(self, piece: Piece, now: float, origin: float) -> None:
        if not self.playback.started:
            self.reply_start_ms = (now + ASSUMED_DELAY_S - origin) * 1000
            self._join_stages(now)
        self.playback.sent(piece.offset_ms + piece.duration_ms, now)
        at_ms = self.reply_start_ms + piece.offset_ms + self.playback.held_ms
        self._unrecorded.append((at_ms, piece))

    def _join_stages(self, now: float) -> None:
        if self.speech_ended_at is None or self._first_audio_at is None:
            return
        silence_ms = max(0.0, now - self.speech_ended_at) * 1000
        sent_ms = (now - self._first_audio_at) * 1000
        self.stages = join_stages(self._engine_stages, sent_ms=sent_ms, silence_ms=silence_ms)

    def note_playing(self, play_delay_ms: float, heard_ms: int, now: float) -> None:
        """The client's first report: it began to play, and has played `heard_ms`.

        What has passed since the sending and is neither the client's delay nor playing was spent on
        the way: the audio's here, the report's back. A reply that was held tells nothing of it.
        """
        if self.play_delay_ms is not None:
            return
        self.play_delay_ms = play_delay_ms
        started_at = self.playback.started_at
        if started_at is not None and not self.playback.was_held:
            way_ms = (now - started_at) * 1000 - heard_ms - play_delay_ms
            self.received_ms = max(0.0, way_ms)

    def record_played(self, heard_ms: int, *, last: bool) -> Iterator[Effect]:
        """Record what was played up to `heard_ms`.

        `last`: no more will be played, so a piece that was played in part is cut there.
        """
        while self._unrecorded:
            at_ms, piece = self._unrecorded[0]
            if piece.offset_ms + piece.duration_ms <= heard_ms:
                self._unrecorded.popleft()
                yield RecordTutor(piece.pcm, at_ms)
                continue
            played = (heard_ms - piece.offset_ms) * self.rate_hz // 1000 * 2
            if last and played > 0:
                yield RecordTutor(piece.pcm[:played], at_ms)
            break

    def over(self, now: float) -> bool:
        """Whether the whole reply was played, as far as one can know."""
        if not self.all_sent:
            return False
        if self.captions_only or self.audio_ms == 0:
            return True
        over_at = self.playback.over_at(self.audio_ms)
        return over_at is not None and now >= over_at

    def deadlines(self) -> Iterator[float]:
        """Return when there will be something to send, or to end."""
        position = self.pacer.next_position_ms
        if position is not None:
            at = self.playback.reaches_at(position)
        else:
            at = self.playback.over_at(self.audio_ms) if self.done else None
        if at is not None:
            yield at

    def left_ms(self, now: float) -> int:
        """How much of what has come of the reply's audio was not played by `now`."""
        return self.audio_ms - self.playback.position_ms(now)

    def should_be_kept(self, now: float) -> bool:
        """Whether there is more of the turn than was kept; then it counts as kept now.

        Captions are not: whether they were read, nobody reports.
        """
        kept_ms, kept_whole = self._kept
        covered = self.playback.sent_ms <= kept_ms and self.done == kept_whole
        if self.captions_only or covered or now < self._kept_at + _KEEP_EVERY_S:
            return False
        self._kept, self._kept_at = (self.audio_ms, self.done), now
        return True

    # --- what was heard -----------------------------------------------------------------------

    def heard(self, heard_ms: int) -> str:
        """Return what was heard of the reply's text after `heard_ms` of its audio."""
        if self.captions_only:
            # Nothing was played: what was shown was read.
            return "".join(piece.text for piece in self.pieces).strip()
        return heard_text(self.pieces, self.audio_ms, heard_ms)

    def in_the_air(self, now: float, since_ms: int = _ECHO_MS) -> str:
        """Return the tutor's words of the last `since_ms`, that a microphone may be hearing."""
        position = self.playback.position_ms(now)
        return text_between(self.pieces, self.audio_ms, position - since_ms, position)

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
            stages=with_playing(self.stages, self.play_delay_ms, self.received_ms),
            engine=engine,
            reply_words=messages.words(word_times(self.pieces, self.audio_ms)[:_MAX_REPLY_WORDS]),
        )
        # The utterance began before the turn was committed, by its own length and the wait.
        spoke = timedelta()
        if self.speech_ended_at is not None:
            waited = self.opened_at - self.speech_ended_at
            spoke = timedelta(seconds=max(0.0, waited), milliseconds=self.end_ms - self.start_ms)
        turn.started_at.FromDatetime(started_at - spoke)
        turn.ended_at.FromDatetime(started_at + timedelta(seconds=now - self.opened_at))
        return turn
