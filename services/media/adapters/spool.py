"""Spool files: a live recording as plain samples on disk, one file a track.

A spool needs no index: a file's size is its position, so whatever a killed process left is good
up to its last whole sample. All functions block; call them off the event loop.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.common.durable import sync_path
from services.media.recordings import Track
from services.media.timeline import SAMPLE_BYTES, place

Samples = npt.NDArray[np.int16]

# 64 Ki samples are 4 s at 16 kHz: large enough for numpy, small enough for any number of jobs.
_READ_SAMPLES = 65_536


class Spool:
    """The spool of one recording, open for writing. One writer at a time."""

    def __init__(self, folder: Path, tracks: Mapping[Track, int]) -> None:
        """Open the spool in `folder`, made when it is missing, with what is in it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._files: dict[Track, int] = {}
        self._lengths: dict[Track, int] = {}
        try:
            for track in tracks:
                file = os.open(track_path(folder, track), os.O_RDWR | os.O_CREAT, 0o600)
                self._files[track] = file
                length = os.fstat(file).st_size // SAMPLE_BYTES
                # A kill may have cut inside a sample.
                os.ftruncate(file, length * SAMPLE_BYTES)
                self._lengths[track] = length
            _sync_folder(folder)
        except BaseException:
            self.close()
            raise

    @property
    def lengths(self) -> dict[Track, int]:
        """Samples of each track, written so far."""
        return dict(self._lengths)

    def write(self, track: Track, first_sample: int, pcm: bytes) -> None:
        """Add samples that begin at `first_sample`. Gaps become silence; what is there is kept."""
        length = self._lengths[track]
        placed = place(length, first_sample, len(pcm) // SAMPLE_BYTES)
        if not placed.take:
            return
        start = length + placed.silence
        view = memoryview(pcm)[placed.skip * SAMPLE_BYTES :]
        # Writing past the end leaves a hole, which reads as zeros: silence costs no disk.
        offset = start * SAMPLE_BYTES
        while view:
            written = os.pwrite(self._files[track], view, offset)
            view, offset = view[written:], offset + written
        self._lengths[track] = start + placed.take

    def sync(self) -> None:
        """Force what was written to disk."""
        for file in self._files.values():
            os.fsync(file)

    def close(self) -> None:
        """Close the files. They stay."""
        while self._files:
            os.close(self._files.popitem()[1])


def track_path(folder: Path, track: Track) -> Path:
    """Return the spool file of a track."""
    return folder / f"{track.label}.pcm"


def original_path(folder: Path, track: Track) -> Path:
    """Return the file of a track's original, until it is stored."""
    return folder / f"{track.label}.flac"


def spooled(folder: Path, track: Track) -> int:
    """Return how many whole samples of a track are there; 0 where there is no file."""
    path = track_path(folder, track)
    return path.stat().st_size // SAMPLE_BYTES if path.exists() else 0


def resize(folder: Path, track: Track, samples: int) -> None:
    """Make a track `samples` long; what is added is silence."""
    with track_path(folder, track).open("ab") as file:
        file.truncate(samples * SAMPLE_BYTES)


def read(folder: Path, track: Track) -> Iterator[Samples]:
    """Yield a track's samples in pieces."""
    with track_path(folder, track).open("rb") as file:
        while data := file.read(_READ_SAMPLES * SAMPLE_BYTES):
            yield np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)


def all_in(folder: Path) -> Iterator[tuple[str, datetime]]:
    """Yield every spool below `folder`: its recording's id, and when it was last added to.

    What cannot be looked into is none, such as a file, or a disk's `lost+found`.
    """
    for each in folder.iterdir() if folder.is_dir() else ():
        # One may go meanwhile.
        with suppress(OSError):
            times = [each.stat().st_mtime, *(file.stat().st_mtime for file in each.iterdir())]
            yield each.name, datetime.fromtimestamp(max(times), UTC)


def remove(folder: Path) -> None:
    """Delete a spool; one that is not there is fine."""
    shutil.rmtree(folder, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make new names in `folder`, and its own, outlive a power cut."""
    for each in (folder, folder.parent):
        sync_path(each)
