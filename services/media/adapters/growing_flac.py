"""A lossless file that is written while its sound is still being made.

All but its first bytes are as they will be in the end: the header says how long the sound is, and
is written anew when that is known. Made of the same samples it has the same bytes.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import av
import numpy as np

from services.media.adapters import spool
from services.media.recordings import Track
from services.media.timeline import SAMPLE_BYTES

# Little enough for any number of recordings at once; 4 s at 16 kHz.
_READ_SAMPLES = 65_536


class GrowingFlac:
    """A spool's track as FLAC, as far as it goes. Its methods block."""

    def __init__(self, folder: Path, track: Track, rate_hz: int) -> None:
        """Begin a new file beside the spool; it goes when this is closed."""
        self._source = spool.track_path(folder, track)
        self._path = folder / f"{track.label}.live.flac"
        self._rate_hz = rate_hz
        self._taken = 0
        # Whoever was to wait for `grow` may be gone when this is closed, and its thread not.
        self._one_at_a_time = threading.Lock()
        self._closed = False
        # bitexact and the codec's own defaults, as for the original made in the end.
        options = {"fflags": "+bitexact", "flush_packets": "1"}
        self._container = av.open(str(self._path), "w", format="flac", options=options)
        try:
            self._stream = self._container.add_stream("flac", rate=rate_hz)
            self._stream.codec_context.layout = "mono"
            self._stream.codec_context.format = "s16"
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """How many bytes are there. What the encoder still holds is not among them."""
        # FFmpeg makes the file with the first whole frame.
        return self._path.stat().st_size if self._path.exists() else 0

    def grow(self, samples: int) -> None:
        """Take the spool's samples up to so many.

        Raises:
            OSError: the disk takes no more, or the spool is gone.
        """
        try:
            with self._one_at_a_time:
                self._grow(samples)
        except av.FFmpegError as error:
            raise OSError(f"{self._path.name} cannot be written") from error

    def _grow(self, samples: int) -> None:
        if self._closed:
            return
        with self._source.open("rb") as source:
            source.seek(self._taken * SAMPLE_BYTES)
            while self._taken < samples:
                wanted = min(samples - self._taken, _READ_SAMPLES)
                data = source.read(wanted * SAMPLE_BYTES)
                piece = np.frombuffer(data[: len(data) // 2 * 2], dtype="<i2").astype(np.int16)
                if not len(piece):
                    return
                frame = av.AudioFrame.from_ndarray(
                    piece.reshape(1, -1), format="s16", layout="mono"
                )
                frame.sample_rate = self._rate_hz
                frame.pts = self._taken
                self._taken += len(piece)
                self._container.mux(self._stream.encode(frame))

    def read(self, offset: int, length: int) -> bytes:
        """Return some of the bytes that are there."""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def close(self) -> None:
        """Remove the file."""
        with self._one_at_a_time, suppress(av.FFmpegError):
            self._closed = True
            # A full disk does not take the header; nobody will read it.
            self._container.close()
        self._path.unlink(missing_ok=True)
