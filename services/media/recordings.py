"""Recordings and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum


class State(StrEnum):
    """Where a recording stands."""

    RECORDING = "recording"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class Track(IntEnum):
    """Whose audio; the numbers are those of the contract's `AudioTrack`."""

    LEARNER = 1
    TUTOR = 2
    MIX = 3

    @property
    def label(self) -> str:
        """The name in keys and file names."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """A track's lossless original.

    sha256: of its samples as PCM_S16LE, in hex.
    peak: the largest absolute sample value, 0 to 32768.
    loudness_lufs: integrated, by ITU-R BS.1770; None of silence, and of what was stored before
        it was measured.
    """

    rate_hz: int
    samples: int
    size_bytes: int
    sha256: str
    peak: int
    loudness_lufs: float | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording.

    rates_hz: of the tracks that are recorded, also while there is no original yet.
    tracks: the originals; empty before the recording is ready.
    waveform: peaks of the mix, 0 to 255, ten a second.
    """

    recording_id: str
    conversation_id: str
    user_id: str
    state: State
    started_at: datetime
    rates_hz: Mapping[Track, int]
    duration_ms: int = 0
    tracks: Mapping[Track, StoredTrack] = field(default_factory=dict)
    waveform: bytes = field(default=b"", repr=False)
    failure: str = ""
    file_name: str = ""
    delete_at: datetime | None = None

    def same_origin(self, other: Recording) -> bool:
        """Tell whether `other`, which has the same id, can be a continuation of this one."""
        return (self.conversation_id, self.user_id, self.rates_hz) == (
            other.conversation_id,
            other.user_id,
            other.rates_hz,
        )


def object_key(recording_id: str, track: Track) -> str:
    """Return where a track's original is in the object store."""
    return f"{object_prefix(recording_id)}{track.label}.flac"


def object_prefix(recording_id: str) -> str:
    """Return what every object of a recording begins with."""
    return f"recordings/{recording_id}/"
