"""What a conversation looks like from the learner's side: a pure reducer.

`reduce(view, event) -> view` knows no gRPC call, no clock and no terminal. Events are the server's
`ConverseResponse` messages and the few things only this side knows (`LocalEvent`). Displays draw a
`SessionView`; tests feed tables of events.

Two rules hold for every sequence: a message of an older generation changes nothing, and what is
shown of a reply never shrinks except when the server says what was really heard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import feedback_pb2, turn_pb2
from parley_cli.failures import refusal_from_status
from parley_cli.stages import StageView, stage_views

# Notices shown at once; older ones scroll away.
_NOTICES_KEPT = 3


class Floor(StrEnum):
    """Who may speak, as the learner sees it."""

    CONNECTING = "connecting"
    LISTENING = "listening"
    LEARNER = "learner"
    THINKING = "thinking"
    TUTOR = "tutor"
    HELD = "held"
    RECONNECTING = "reconnecting"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ReplyWords:
    """Words of a reply and where their audio begins, in milliseconds."""

    text: str
    start_ms: int


@dataclass(frozen=True, slots=True)
class CorrectionView:
    """One correction."""

    original: str
    replacement: str
    explanation: str


@dataclass(frozen=True, slots=True)
class TurnView:
    """One turn, so far.

    Attributes:
        number: position in the conversation, from 1.
        utterance: the learner's words, partial until `utterance_final`.
        utterance_end_ms: where the server put the end of speech on the session's time line.
        generation: of the reply; 0 while there is none.
        kind: "answer", "opening" or "hint"; empty while there is no reply.
        words: the reply so far, in order.
        heard_ms: how much of the reply's audio was played.
        end: why the reply stopped ("completed", "interrupted", ...); empty while it goes on.
        heard_text: what the server says was heard; set when the reply has stopped.
        silence_ms: measured here: end of speech to the reply's first sound; None until it sounds.
        stages: the parts of that silence.
        turn_id: in history; empty until the turn is saved.
    """

    number: int
    utterance: str = ""
    utterance_final: bool = False
    utterance_end_ms: int = 0
    generation: int = 0
    kind: str = ""
    words: tuple[ReplyWords, ...] = ()
    heard_ms: int = 0
    end: str = ""
    heard_text: str = ""
    silence_ms: float | None = None
    stages: tuple[StageView, ...] = ()
    turn_id: str = ""
    corrections: tuple[CorrectionView, ...] = ()

    @property
    def reply(self) -> str:
        """Everything the tutor has said or is about to say in this turn."""
        return "".join(part.text for part in self.words).strip()

    @property
    def spoken(self) -> str:
        """The reply as far as it has been played; the server's word once it has ended."""
        if self.end:
            return self.heard_text
        return "".join(p.text for p in self.words if p.start_ms < self.heard_ms).strip()


@dataclass(frozen=True, slots=True)
class NoticeView:
    """Something worth knowing, in one sentence."""

    text: str
    reason: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class SummaryView:
    """How the session went."""

    turns: int
    turns_saved: int
    learner_speech_ms: int
    tutor_speech_ms: int
    duration_ms: int
    median_silence_ms: int


@dataclass(frozen=True, slots=True)
class SessionView:
    """Everything a display needs."""

    floor: Floor = Floor.CONNECTING
    conversation_id: str = ""
    engine: str = ""
    voice: str = ""
    scenario: str = ""
    captions_only: bool = False
    generation: int = 0
    turns: tuple[TurnView, ...] = ()
    notices: tuple[NoticeView, ...] = ()
    summary: SummaryView | None = None
    time_left_ms: int | None = None
    muted: bool = False
    microphone_open: bool = True

    @property
    def turns_taken(self) -> tuple[TurnView, ...]:
        """The turns that became one: of sounds that did not, words may have been shown."""
        return tuple(turn for turn in self.turns if turn.generation or turn.utterance_final)

    @property
    def current(self) -> TurnView | None:
        """The turn under way, or the last one."""
        return self.turns[-1] if self.turns else None

    def turn_of(self, generation: int) -> TurnView | None:
        """The turn whose reply has this generation."""
        for turn in reversed(self.turns):
            if turn.generation == generation:
                return turn
        return None


@dataclass(frozen=True, slots=True)
class Played:
    """The loudspeaker has played so much of a reply."""

    generation: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class ReplySounded:
    """The first sound of a reply: how long the learner had waited, or None where unknown."""

    generation: int
    silence_ms: float | None


@dataclass(frozen=True, slots=True)
class StagesKnown:
    """The silence of a reply, part by part, with the parts only this side can see."""

    generation: int
    stages: tuple[StageView, ...]


@dataclass(frozen=True, slots=True)
class ConnectionChanged:
    """The connection was lost, or is back."""

    connected: bool


@dataclass(frozen=True, slots=True)
class MuteChanged:
    """The microphone was muted, or is on again."""

    muted: bool


@dataclass(frozen=True, slots=True)
class MicrophoneChanged:
    """Push-to-talk: the learner's turn was begun, or is over."""

    is_open: bool


@dataclass(frozen=True, slots=True)
class Typed:
    """The learner typed an utterance."""

    text: str


@dataclass(frozen=True, slots=True)
class Remarked:
    """This side has something to say."""

    text: str


LocalEvent = (
    Played
    | ReplySounded
    | StagesKnown
    | ConnectionChanged
    | MuteChanged
    | MicrophoneChanged
    | Typed
    | Remarked
)
Event = conversation_pb2.ConverseResponse | LocalEvent

_END_NAMES = {
    turn_pb2.REPLY_END_REASON_COMPLETED: "completed",
    turn_pb2.REPLY_END_REASON_INTERRUPTED: "interrupted",
    turn_pb2.REPLY_END_REASON_FAILED: "failed",
    turn_pb2.REPLY_END_REASON_SESSION_ENDED: "session ended",
}
_KIND_NAMES = {
    conversation_pb2.REPLY_KIND_ANSWER: "answer",
    conversation_pb2.REPLY_KIND_OPENING: "opening",
    conversation_pb2.REPLY_KIND_HINT: "hint",
}


def is_stale(view: SessionView, response: conversation_pb2.ConverseResponse) -> bool:
    """Whether a message belongs to a generation that a newer one has replaced.

    Only output counts: a saved turn or its feedback may come long after.
    """
    kind = response.WhichOneof("message")
    output = kind is not None and kind.startswith("reply_")
    return output and 0 < response.generation < view.generation


def reduce(view: SessionView, event: Event) -> SessionView:
    """Return the view after an event. Total: an unknown event changes nothing."""
    if isinstance(event, conversation_pb2.ConverseResponse):
        return _reduce_response(view, event)
    return _reduce_local(view, event)


def _reduce_local(view: SessionView, event: LocalEvent) -> SessionView:
    match event:
        case Played(generation, audio_ms):
            turn = view.turn_of(generation)
            if turn is None or turn.end or audio_ms <= turn.heard_ms:
                return view
            return _with_turn(view, replace(turn, heard_ms=audio_ms))
        case ReplySounded(generation, silence_ms):
            turn = view.turn_of(generation)
            if turn is None:
                return view
            view = _with_turn(view, replace(turn, silence_ms=silence_ms))
            return _unless_ended(view, Floor.TUTOR) if not turn.end else view
        case StagesKnown(generation, stages):
            turn = view.turn_of(generation)
            return view if turn is None else _with_turn(view, replace(turn, stages=stages))
        case ConnectionChanged(connected):
            floor = Floor.LISTENING if connected else Floor.RECONNECTING
            return _unless_ended(view, floor)
        case MuteChanged(muted):
            return replace(view, muted=muted)
        case MicrophoneChanged(is_open):
            return replace(view, microphone_open=is_open)
        case Typed(text):
            turn = _open_turn(view, 0)
            view = _with_turn(view, replace(turn, utterance=text, utterance_final=True))
            return _unless_ended(view, Floor.THINKING)
        case Remarked(text):
            return _with_notice(view, NoticeView(text))


def _reduce_response(view: SessionView, response: conversation_pb2.ConverseResponse) -> SessionView:
    if is_stale(view, response):
        return view
    kind = response.WhichOneof("message")
    match kind:
        case "started":
            return _started(view, response.started)
        case "speech_started":
            # Speech over a reply is the server's to judge; until then the tutor keeps the floor.
            return view if view.floor in _TUTOR_FLOORS else _unless_ended(view, Floor.LEARNER)
        case "speech_ended":
            return view if view.floor in _TUTOR_FLOORS else _unless_ended(view, Floor.LISTENING)
        case "transcript":
            return _transcript(view, response)
        case "reply_started":
            return _reply_started(view, response)
        case "reply_text":
            return _reply_text(view, response)
        case "reply_audio":
            return view
        case "reply_paused":
            return _unless_ended(view, Floor.HELD)
        case "reply_resumed":
            return _unless_ended(view, Floor.TUTOR)
        case "reply_ended":
            return _reply_ended(view, response)
        case "turn_saved":
            return _saved(view, response.turn_saved)
        case "feedback":
            return _feedback(view, response.feedback)
        case "go_away":
            return replace(view, time_left_ms=response.go_away.time_left_ms)
        case "notice":
            refusal = refusal_from_status(response.notice.status)
            return _with_notice(
                view, NoticeView(refusal.message, refusal.reason, response.notice.fatal)
            )
        case "ended":
            summary = response.ended.summary
            return replace(
                view,
                floor=Floor.ENDED,
                summary=SummaryView(
                    turns=summary.turns,
                    turns_saved=summary.turns_saved,
                    learner_speech_ms=summary.learner_speech_ms,
                    tutor_speech_ms=summary.tutor_speech_ms,
                    duration_ms=summary.duration_ms,
                    median_silence_ms=summary.median_silence_ms,
                ),
            )
        case _:
            return view


_TUTOR_FLOORS = (Floor.TUTOR, Floor.HELD, Floor.THINKING)


def _started(view: SessionView, started: conversation_pb2.SessionStarted) -> SessionView:
    floor = Floor.LISTENING
    current = view.current
    if started.resumed and current is not None and current.generation and not current.end:
        floor = Floor.TUTOR
    return replace(
        _unless_ended(view, floor),
        conversation_id=started.conversation_id,
        engine=started.engine,
        voice=started.voice,
        scenario=started.scenario.title or started.scenario.scenario_id,
        time_left_ms=None,
    )


def _transcript(view: SessionView, response: conversation_pb2.ConverseResponse) -> SessionView:
    update = response.transcript
    turn = _open_turn(view, response.turn)
    if turn.utterance_final and not update.final:
        return view
    if says_nothing(update):
        return _taken_back(view, turn)
    view = _with_turn(
        view,
        replace(
            turn,
            utterance=_words(update),
            utterance_final=update.final,
            utterance_end_ms=update.end_ms,
        ),
    )
    if update.final and view.floor not in (Floor.TUTOR, Floor.HELD):
        return _unless_ended(view, Floor.THINKING)
    return view


def says_nothing(update: conversation_pb2.TranscriptUpdate) -> bool:
    """Whether the server takes back what it had heard: a "mhm", a cough, the tutor's own echo."""
    return update.final and not _words(update)


def _words(update: conversation_pb2.TranscriptUpdate) -> str:
    return update.transcript.verbatim or update.transcript.clean


def _taken_back(view: SessionView, turn: TurnView) -> SessionView:
    if turn.generation:
        return _with_turn(view, replace(turn, utterance="", utterance_final=False))
    view = replace(view, turns=tuple(t for t in view.turns if t.number != turn.number))
    return _unless_ended(view, Floor.LISTENING) if view.floor is Floor.LEARNER else view


def _reply_started(view: SessionView, response: conversation_pb2.ConverseResponse) -> SessionView:
    started = response.reply_started
    turn = _open_turn(view, response.turn)
    # Who is helped has said nothing that counts.
    helps = started.kind == conversation_pb2.REPLY_KIND_HINT
    view = replace(view, generation=max(view.generation, response.generation))
    view = _with_turn(
        view,
        replace(
            turn,
            utterance="" if helps and not turn.utterance_final else turn.utterance,
            generation=response.generation,
            kind=_KIND_NAMES.get(started.kind, "answer"),
            # A new generation of the same turn starts from nothing.
            words=(),
            heard_ms=0,
            end="",
            heard_text="",
            silence_ms=None,
            stages=(),
        ),
    )
    return _unless_ended(view, Floor.THINKING)


def _reply_text(view: SessionView, response: conversation_pb2.ConverseResponse) -> SessionView:
    turn = view.turn_of(response.generation)
    if turn is None or turn.end:
        return view
    return _with_turn(view, replace(turn, words=turn.words + _spread(response.reply_text)))


def _spread(text: conversation_pb2.ReplyText) -> tuple[ReplyWords, ...]:
    """Cut a stretch of the reply at its words, so that each shows when it is spoken.

    Falls back to the whole stretch where the words do not reproduce the text.
    """
    parts: list[ReplyWords] = []
    rest = text.text
    for word in text.words:
        found = rest.find(word.text)
        if found < 0 or not word.text:
            return (ReplyWords(text.text, text.audio_offset_ms),)
        end = found + len(word.text)
        parts.append(ReplyWords(rest[:end], word.start_ms))
        rest = rest[end:]
    if not parts:
        return (ReplyWords(text.text, text.audio_offset_ms),)
    if rest:
        last = parts[-1]
        parts[-1] = replace(last, text=last.text + rest)
    return tuple(parts)


def _reply_ended(view: SessionView, response: conversation_pb2.ConverseResponse) -> SessionView:
    turn = view.turn_of(response.generation)
    if turn is None:
        return view
    ended = response.reply_ended
    view = _with_turn(
        view,
        replace(
            turn,
            end=_END_NAMES.get(ended.reason, "completed"),
            heard_text=ended.heard_text.strip(),
            heard_ms=max(turn.heard_ms, ended.heard_ms),
            stages=turn.stages or stage_views(ended.stages),
        ),
    )
    return _unless_ended(view, Floor.LISTENING)


def _saved(view: SessionView, saved: conversation_pb2.TurnSaved) -> SessionView:
    for turn in view.turns:
        if turn.number == saved.number:
            return _with_turn(view, replace(turn, turn_id=saved.turn_id))
    return view


def _feedback(view: SessionView, feedback: conversation_pb2.TurnFeedback) -> SessionView:
    for turn in view.turns:
        if turn.turn_id == feedback.turn_id:
            return _with_turn(view, replace(turn, corrections=corrections(feedback.feedback)))
    return view


def corrections(feedback: feedback_pb2.Feedback) -> tuple[CorrectionView, ...]:
    """The corrections of a feedback, for people."""
    return tuple(
        CorrectionView(c.original, c.replacement, c.explanation) for c in feedback.corrections
    )


def _open_turn(view: SessionView, number: int) -> TurnView:
    """The turn with this number, new where there is none; 0 means the one under way or the next."""
    for turn in view.turns:
        if turn.number == number:
            return turn
    if number:
        return TurnView(number)
    current = view.current
    if current is None:
        return TurnView(1)
    return TurnView(current.number + 1) if current.generation else current


def _with_turn(view: SessionView, turn: TurnView) -> SessionView:
    others = tuple(t for t in view.turns if t.number != turn.number)
    turns = tuple(sorted((*others, turn), key=lambda t: t.number))
    return replace(view, turns=turns)


def _with_notice(view: SessionView, notice: NoticeView) -> SessionView:
    return replace(view, notices=(*view.notices, notice)[-_NOTICES_KEPT:])


def _unless_ended(view: SessionView, floor: Floor) -> SessionView:
    return view if view.floor is Floor.ENDED else replace(view, floor=floor)
