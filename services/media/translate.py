"""Between the contract's messages and the domain's values."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from parley.media.v1 import media_pb2 as pb
from parley.types.v1 import audio_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.timestamps import from_timestamp, to_timestamp
from services.media.recordings import Recording, State, Track
from services.media.renditions import Encoding

_STATES = {
    State.RECORDING: pb.RECORDING_STATE_RECORDING,
    State.PROCESSING: pb.RECORDING_STATE_PROCESSING,
    State.READY: pb.RECORDING_STATE_READY,
    State.FAILED: pb.RECORDING_STATE_FAILED,
}

_TRACKS = {
    Track.LEARNER: audio_pb2.AUDIO_TRACK_LEARNER,
    Track.TUTOR: audio_pb2.AUDIO_TRACK_TUTOR,
}

_ENCODINGS = {
    audio_pb2.AUDIO_ENCODING_UNSPECIFIED: Encoding.OGG_OPUS,
    audio_pb2.AUDIO_ENCODING_WAV: Encoding.WAV,
    audio_pb2.AUDIO_ENCODING_FLAC: Encoding.FLAC,
    audio_pb2.AUDIO_ENCODING_OGG_OPUS: Encoding.OGG_OPUS,
    audio_pb2.AUDIO_ENCODING_MP3: Encoding.MP3,
}

# What 0 means in the two formats: the rates of live audio.
_LEARNER_RATE_HZ = 16_000
_TUTOR_RATE_HZ = 24_000

_LOWEST_RATE_HZ = 8_000
"""The contract's least sample rate; its rule can only say the most, because 0 is allowed."""


def to_recording(start: pb.RecordStart, now: datetime) -> Recording:
    """Read what is to be recorded.

    Raises:
        InvalidArgument: AUDIO_FORMAT_UNSUPPORTED, or INVALID_REQUEST for a time out of range.
    """
    started_at = now
    if start.HasField("started_at"):
        started_at = _time(start.started_at)
    return Recording(
        recording_id=start.recording_id.lower(),
        conversation_id=start.conversation_id.lower(),
        user_id=start.user_id.lower(),
        state=State.RECORDING,
        started_at=started_at,
        rates_hz={
            Track.LEARNER: _rate_hz(start.learner_format, _LEARNER_RATE_HZ, "learner_format"),
            Track.TUTOR: _rate_hz(start.tutor_format, _TUTOR_RATE_HZ, "tutor_format"),
        },
    )


def to_track(track: audio_pb2.AudioTrack.ValueType) -> Track:
    """Read a track to play; unspecified means the mix."""
    return Track(track) if track else Track.MIX


def to_encoding(encoding: audio_pb2.AudioEncoding.ValueType) -> Encoding:
    """Read a form of file; unspecified means Opus.

    Raises:
        InvalidArgument: INVALID_REQUEST, for a form that no file has.
    """
    found = _ENCODINGS.get(encoding)
    if found is None:
        raise InvalidArgument(
            "Recordings are WAV, FLAC, OGG_OPUS or MP3 files.",
            reason="INVALID_REQUEST",
            fields=[FieldViolation("encoding", "must be WAV, FLAC, OGG_OPUS or MP3")],
        )
    return found


def from_recording(value: Recording) -> pb.Recording:
    """Write a recording."""
    message = pb.Recording(
        recording_id=value.recording_id,
        conversation_id=value.conversation_id,
        state=_STATES[value.state],
        duration_ms=value.duration_ms,
        started_at=to_timestamp(value.started_at),
        tracks=[_TRACKS[track] for track in value.rates_hz],
        original_bytes=sum(stored.size_bytes for stored in value.tracks.values()),
        failure=value.failure,
        file_name=value.file_name,
        waveform=value.waveform,
    )
    if Track.LEARNER in value.tracks:
        message.learner_sha256 = value.tracks[Track.LEARNER].sha256
    if Track.TUTOR in value.tracks:
        message.tutor_sha256 = value.tracks[Track.TUTOR].sha256
    if value.delete_at is not None:
        message.delete_at.CopyFrom(to_timestamp(value.delete_at))
    return message


def from_lengths(lengths: dict[Track, int]) -> pb.RecordResponse:
    """Write how many samples of each track are on disk."""
    return pb.RecordResponse(
        learner_samples=lengths.get(Track.LEARNER, 0), tutor_samples=lengths.get(Track.TUTOR, 0)
    )


def from_finished(value: Recording) -> pb.RecordResponse:
    """Write the last response of a stream."""
    lengths = {track: stored.samples for track, stored in value.tracks.items()}
    response = from_lengths(lengths)
    response.recording.CopyFrom(from_recording(value))
    return response


def _rate_hz(form: audio_pb2.AudioFormat, default: int, field: str) -> int:
    wrong = []
    if form.encoding not in (
        audio_pb2.AUDIO_ENCODING_UNSPECIFIED,
        audio_pb2.AUDIO_ENCODING_PCM_S16LE,
    ):
        wrong.append(FieldViolation(f"start.{field}.encoding", "must be PCM_S16LE"))
    if form.channels > 1:
        wrong.append(FieldViolation(f"start.{field}.channels", "must be 1"))
    if 0 < form.sample_rate_hz < _LOWEST_RATE_HZ:
        wrong.append(FieldViolation(f"start.{field}.sample_rate_hz", "must be at least 8000"))
    if wrong:
        raise InvalidArgument(
            "Live audio is signed 16-bit little-endian mono PCM.",
            reason="AUDIO_FORMAT_UNSUPPORTED",
            fields=wrong,
        )
    return form.sample_rate_hz or default


def _time(stamp: Timestamp) -> datetime:
    try:
        return from_timestamp(stamp)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            "A time is out of range.",
            reason="INVALID_REQUEST",
            fields=[FieldViolation("start.started_at", "not between the years 1 and 9999")],
        ) from None
