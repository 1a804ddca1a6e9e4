"""What takes bytes from outside, each as a function of bytes alone.

A part may refuse what it is given with a `ParleyError`; anything else that it raises is a fault.
`make fuzz-decoders` looks for such bytes; those that it found once are in `seeds/`, and every run
of the tests tries them again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from google.protobuf.message_factory import GetMessageClass
from websockets.protocol import State
from websockets.server import ServerProtocol

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.user.v1 import user_pb2
from services.ai import translate as ai_translate
from services.common.errors import InvalidArgument, ParleyError
from services.common.interceptors.validation import checked
from services.common.limits import DEFAULT_LIMITS
from services.conversation import events
from services.conversation.audio_gate import AudioGate
from services.conversation.learner_audio import MAX_RATE_HZ, MIN_RATE_HZ, LearnerAudio
from services.conversation.push_order import REORDER_WINDOW, PushOrder
from services.history import page_tokens, search
from services.history import translate as history_translate
from services.media import translate as media_translate
from services.media.adapters import decode_upload
from services.media.problems import Refused
from services.media.uploads import container_of
from services.user import translate as user_translate
from services.user.accounts import Account
from services.user.usernames import Username
from tests.unit.conversation.driving import Drive
from tests.unit.conversation.test_session_properties import SessionPromises

T = TypeVar("T")

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_MOST_BYTES: Final = DEFAULT_LIMITS.max_stream_message_bytes
_UPLOAD_SECONDS: Final = 10.0

# As many as a long talk has; more of them would only take longer.
_MOST_EVENTS: Final = 400
_ACCOUNT: Final = Account("01900000-0000-7000-8000-000000000001", Username("a", "a"), b"", NOW)


def talk(data: bytes) -> None:
    """A session under way, and what any client may send it: messages, pauses, broken lines."""
    drive = Drive(session_s=900, idle_s=120, resume_s=60, reply_timeout_s=20)
    drive.give(events.Opened())
    decode = _decoder(conversation_pb2.ConverseRequest)
    gone = False
    for number, piece in enumerate(pieces(data)):
        match piece[:1]:
            case b"\x01":
                drive.advance(piece[-1] / 8)
            case b"\x02":
                drive.commit(f"sentence {number}")
            case b"\x03" if drive.generation:
                drive.speak("one two three", end=len(piece) % 2 == 0)
            case b"\x04":
                gone = not gone
                drive.give(events.ClientGone() if gone else events.ClientBack(start_seq=number))
            case b"\x05":
                drive.learner_begins(piece[-1])
            case _ if not gone:
                with suppress(ParleyError):
                    message = decode(piece[1:])
                    if message.WhichOneof("message") != "audio":
                        drive.give(events.FromClient(message))


def session(data: bytes) -> None:
    """Sequences of events against the session machine, which keeps all its promises.

    The rules are those of its property test, drawn from the bytes here: Hypothesis, which would do
    it as well, takes ten times as long for each.
    """
    choices = _Choices(data)
    machine = SessionPromises()
    machine.begin(
        captions_only=choices.one_of((False, True)),
        tutor_opens=choices.one_of((False, True)),
        no_barge_in=choices.one_of((False, True)),
        next_turn=choices.one_of((1, 7)),
        cut_off=choices.one_of((False, True)),
    )
    machine.promises()
    for _ in range(_MOST_EVENTS):
        if choices.are_over:
            return
        rule = choices.one_of(machine.rules)
        if all(holds(machine) for holds in rule.preconditions):
            arguments = {name: choices.drawn(kind) for name, kind in rule.arguments.items()}
            rule.function(machine, **arguments)
            machine.promises()


def engine_messages(data: bytes) -> None:
    """What the conversation service sends to an engine, read by the ai service."""
    message = _decoder(ai_pb2.ConverseRequest)(data)
    if message.WhichOneof("message") == "start":
        ai_translate.session_config(message.start)
    else:
        ai_translate.engine_input(message)


def history_events(data: bytes) -> None:
    """What history is told."""
    history_translate.to_events(_decoder(history_pb2.IngestRequest)(data).events)


def recordings(data: bytes) -> None:
    """The beginning of a recording."""
    message = _decoder(media_pb2.RecordRequest)(data)
    if message.WhichOneof("message") == "start":
        media_translate.to_recording(message.start, NOW)


def profiles(data: bytes) -> None:
    """A change of an account, by any mask."""
    user_translate.merged_preferences(_ACCOUNT, _decoder(user_pb2.UpdateProfileRequest)(data))


def reordering(data: bytes) -> None:
    """Batches that overtake each other: what comes out is in order, once, and bounded."""
    order = PushOrder(*(data[0] % 5, data[1] % 5) if len(data) > 1 else (0, 0))
    decode = _decoder(conversation_pb2.PushRequest)
    seen = 0
    for piece in pieces(data[2:]):
        try:
            batch = list(decode(piece).requests)
        except ParleyError:
            # Numbers alone, so that many batches can be tried.
            batch = [conversation_pb2.ConverseRequest(seq=each) for each in piece]
        before = order.last_seq
        try:
            taken = order.take(batch)
        except InvalidArgument:
            assert order.last_seq == before, "nothing of a refused batch is taken"
            continue
        for message in taken:
            assert message.seq > seen, "in order, and each once"
            seen = message.seq
        assert order.last_seq <= before + REORDER_WINDOW + len(batch) + 1


def samples(data: bytes) -> None:
    """Live audio of any place and length, and its pace."""
    rate_hz = MIN_RATE_HZ + int.from_bytes(data[:2], "big") % (MAX_RATE_HZ - MIN_RATE_HZ + 1)
    audio = LearnerAudio(rate_hz, DEFAULT_LIMITS.max_audio_message_ms)
    gate = AudioGate(DEFAULT_LIMITS.max_audio_ahead_ms)
    decode = _decoder(conversation_pb2.LearnerAudio)
    now = 0.0
    for piece in pieces(data[2:]):
        try:
            message = decode(piece)
        except ParleyError:
            message = conversation_pb2.LearnerAudio(pcm=piece * 20, first_sample=len(piece))
        before = audio.next_sample
        taken = audio.take(message.pcm, message.first_sample)
        assert audio.next_sample >= before
        assert all(len(each) % 2 == 0 for each in taken.for_engine)
        now += len(piece) / 50
        assert gate.admit(len(taken.pcm) / 2 / rate_hz * 1000, now) >= 0


def websocket_frames(data: bytes) -> None:
    """What a client may write once its WebSocket is open."""
    protocol = ServerProtocol(state=State.OPEN, max_size=_MOST_BYTES)
    for at in range(0, len(data), 50):
        protocol.receive_data(data[at : at + 50])
        protocol.events_received()
        protocol.data_to_send()
    if protocol.state is State.OPEN:
        protocol.receive_eof()


def uploads(data: bytes) -> None:
    """A file that is said to be a recording, as the decoding process reads it."""
    container = container_of(data[:64])
    if container is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "upload"), Path(folder, "learner.pcm")
        source.write_bytes(data)
        # What that process answers with a problem.
        with suppress(Refused), source.open("rb") as upload, target.open("wb") as out:
            decode_upload.decode(upload, container, out, _UPLOAD_SECONDS)


def texts(data: bytes) -> None:
    """Tokens of pages, and what is searched for."""
    text = data.decode("utf-8", "replace")
    with suppress(ParleyError):
        page_tokens.decode(text, page_tokens.question("list"), str, int)
    query = search.parse_query(text[:200])
    search.snippet(text, query)


PARTS: Final[tuple[Callable[[bytes], None], ...]] = (
    *(talk, session, engine_messages, history_events, recordings, profiles),
    *(reordering, samples, websocket_frames, uploads, texts),
)


def run(part: Callable[[bytes], None], data: bytes) -> None:
    """Give `data` to `part`; its refusals are no faults."""
    with suppress(ParleyError):
        part(data)


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut `data` up: a byte says how long the next piece is."""
    at = 0
    while at < len(data):
        length = data[at] or 1
        if piece := data[at + 1 : at + 1 + length]:
            yield piece
        at += 1 + length


def pieces_of(part: Callable[[bytes], None]) -> Any:
    """Return the type of the messages that `part` reads piece by piece; None where it does not."""
    return {
        talk: conversation_pb2.ConverseRequest.DESCRIPTOR,
        reordering: conversation_pb2.PushRequest.DESCRIPTOR,
        samples: conversation_pb2.LearnerAudio.DESCRIPTOR,
    }.get(part)


def messages_of(part: Callable[[bytes], None]) -> Any:
    """Return the type of the message that `part` reads; None where it reads no single one."""
    return {
        engine_messages: ai_pb2.ConverseRequest.DESCRIPTOR,
        history_events: history_pb2.IngestRequest.DESCRIPTOR,
        recordings: media_pb2.RecordRequest.DESCRIPTOR,
        profiles: user_pb2.UpdateProfileRequest.DESCRIPTOR,
    }.get(part)


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    return checked(GetMessageClass(kind.DESCRIPTOR).FromString, _MOST_BYTES)


class _Choices:
    """Bytes as choices, one each; 0 when they are over."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def are_over(self) -> bool:
        return self._at >= len(self._data)

    def number(self) -> int:
        self._at += 1
        return 0 if self._at > len(self._data) else self._data[self._at - 1]

    def one_of(self, some: Sequence[T]) -> T:
        return some[self.number() % len(some)]

    def drawn(self, kind: Any) -> Any:
        """Return a value that a strategy of Hypothesis could give, of the few kinds in use."""
        kind = getattr(kind, "wrapped_strategy", kind)
        if hasattr(kind, "elements"):
            return self.one_of(kind.elements)
        if hasattr(kind, "start"):
            most = kind.end - kind.start + 1
            return kind.start + (self.number() * 256 + self.number()) % most
        assert repr(kind) == "booleans()", f"{kind} is not known here"
        return self.one_of((False, True))
