"""The responses that a session sends, built from what it knows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import audio_pb2, speech_pb2, turn_pb2
from services.conversation.heard import SpokenWord, TextPiece, WordTime

Response = conversation_pb2.ConverseResponse

# The contract's bound of one word.
_MAX_WORD_CHARACTERS = 200


def words(timed: Iterable[SpokenWord | WordTime]) -> list[speech_pb2.Word]:
    """Return words with their times as the contract has them."""
    return [
        speech_pb2.Word(
            text=word.text[:_MAX_WORD_CHARACTERS],
            start_ms=word.start_ms,
            end_ms=word.end_ms,
            times_estimated=word.estimated,
        )
        for word in timed
    ]


def transcript(
    turn: int, message: ai_pb2.EngineTranscript | ai_pb2.TurnCommitted, *, final: bool
) -> Response:
    """Return what the learner says, so far or finally."""
    update = conversation_pb2.TranscriptUpdate(
        transcript=message.transcript,
        final=final,
        start_ms=message.start_ms,
        end_ms=message.end_ms,
    )
    return Response(turn=turn, transcript=update)


def reply_started(
    turn: int, generation: int, kind: conversation_pb2.ReplyKind.ValueType, rate_hz: int | None
) -> Response:
    """Return the beginning of a reply; without a rate it will have no audio."""
    started = conversation_pb2.ReplyStarted(kind=kind)
    if rate_hz is not None:
        started.format.CopyFrom(
            audio_pb2.AudioFormat(
                encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=rate_hz, channels=1
            )
        )
    return Response(turn=turn, generation=generation, reply_started=started)


def reply_text(turn: int, generation: int, piece: TextPiece) -> Response:
    """Return a piece of a reply's text."""
    text = conversation_pb2.ReplyText(
        text=piece.text, audio_offset_ms=piece.audio_offset_ms, words=words(piece.words)
    )
    return Response(turn=turn, generation=generation, reply_text=text)


def reply_audio(turn: int, generation: int, pcm: bytes, offset_ms: int) -> Response:
    """Return a piece of a reply's audio."""
    audio = conversation_pb2.ReplyAudio(pcm=pcm, offset_ms=offset_ms)
    return Response(turn=turn, generation=generation, reply_audio=audio)


def reply_ended(
    turn: int,
    generation: int,
    reason: turn_pb2.ReplyEndReason.ValueType,
    heard_text: str,
    heard_ms: int,
    stages: Iterable[turn_pb2.Stage],
) -> Response:
    """Return the end of a reply."""
    ended = conversation_pb2.ReplyEnded(
        reason=reason, heard_text=heard_text, heard_ms=heard_ms, stages=stages
    )
    return Response(turn=turn, generation=generation, reply_ended=ended)
