"""What can be asked of a recording, and the range of bytes and time that it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.common.errors import NotFound, OutOfRange
from services.media.recordings import Recording, Track

UNFINISHED = ".part"
"""What the names of files end with that are being made."""


class Encoding(Enum):
    """A file form: its name in file names, and its media type."""

    WAV = ("wav", "audio/wav")
    FLAC = ("flac", "audio/flac")
    OGG_OPUS = ("ogg", "audio/ogg; codecs=opus")
    MP3 = ("mp3", "audio/mpeg")

    @property
    def extension(self) -> str:
        """The file name's ending."""
        return self.value[0]

    @property
    def content_type(self) -> str:
        """The media type."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Rendition:
    """A stretch of a track (or the mix) in one form. Times in milliseconds."""

    track: Track
    encoding: Encoding
    from_ms: int
    to_ms: int
    whole: bool

    @property
    def duration_ms(self) -> int:
        """How long it is."""
        return self.to_ms - self.from_ms

    @property
    def file_name(self) -> str:
        """A name that says what it is; unique within the recording."""
        stretch = "" if self.whole else f"-{self.from_ms}-{self.to_ms}"
        return f"{self.track.label}{stretch}.{self.encoding.extension}"


def choose(
    recording: Recording, track: Track, encoding: Encoding, from_ms: int, to_ms: int
) -> Rendition:
    """Settle what is asked for; `to_ms` 0, or past the end, means the end.

    The mix of a recording with one track is that track.

    Raises:
        NotFound: RECORDING_NOT_FOUND, when the recording has no such track.
        OutOfRange: BAD_RANGE, when the stretch is empty or begins past the end.
    """
    if track is Track.MIX and len(recording.tracks) == 1:
        track = next(iter(recording.tracks))
    if track is not Track.MIX and track not in recording.tracks:
        raise NotFound(f"The recording has no {track.label} track.", reason="RECORDING_NOT_FOUND")
    end = min(to_ms or recording.duration_ms, recording.duration_ms)
    if from_ms >= end:
        raise OutOfRange(
            f"The recording has {recording.duration_ms:,} ms; nothing is between "
            f"{from_ms:,} and {to_ms or end:,} ms.",
            reason="BAD_RANGE",
        )
    whole = from_ms == 0 and end == recording.duration_ms
    return Rendition(track, encoding, from_ms, end, whole)


def byte_range(total: int, offset: int, length: int) -> tuple[int, int]:
    """Return (first byte, how many) of a range; `length` 0 means up to the end.

    Raises:
        OutOfRange: BAD_RANGE, when it begins past the end.
    """
    if offset >= total and (offset > 0 or total > 0):
        raise OutOfRange(
            f"The file has {total:,} bytes; none is at {offset:,}.", reason="BAD_RANGE"
        )
    available = total - offset
    return offset, min(length or available, available)
