"""A conversation on disk, on the session's time line.

`--output` holds the tutor as it was played: silence where the tutor was silent, cut where it was
interrupted. `--output-mix` holds both sides, learner left, tutor right. Files are written as the
conversation goes on, so what was said is there even where the program dies.
"""

from __future__ import annotations

import contextlib
import wave
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soxr

from parley_cli.audio.files import Samples
from parley_cli.failures import CliFailure, ExitCode


class SessionRecorder:
    """Writes the tutor's track, the mix, both, or nothing.

    Args:
        tutor_rate_hz: of the tutor's samples and of the files.
        learner_rate_hz: of the learner's samples.
        tutor_path: where the tutor's track goes; None for nowhere.
        mix_path: where the mix goes; None for nowhere.

    Raises:
        CliFailure: a file cannot be written.
    """

    def __init__(
        self,
        *,
        tutor_rate_hz: int,
        learner_rate_hz: int,
        tutor_path: Path | None,
        mix_path: Path | None,
    ) -> None:
        self._files = contextlib.ExitStack()
        with contextlib.ExitStack() as opening:
            self._tutor = _open(opening, tutor_path, tutor_rate_hz, channels=1)
            self._mix = _open(opening, mix_path, tutor_rate_hz, channels=2)
            self._files = opening.pop_all()
        self._upsample = soxr.ResampleStream(
            learner_rate_hz, tutor_rate_hz, 1, dtype="int16", quality="HQ"
        )
        # What one side is ahead of the other, since resampling delays and cards jitter.
        self._left = np.zeros(0, dtype=np.int16)
        self._right = np.zeros(0, dtype=np.int16)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def learner(self, samples: Samples) -> None:
        """Add what the microphone heard."""
        if self._mix is not None:
            self._left = np.concatenate([self._left, self._upsample.resample_chunk(samples)])
            self._write_mix()

    def tutor(self, samples: Samples) -> None:
        """Add what the loudspeaker played, silence included."""
        if self._tutor is not None:
            self._tutor.writeframes(samples.astype("<i2").tobytes())
        if self._mix is not None:
            self._right = np.concatenate([self._right, samples])
            self._write_mix()

    def close(self) -> None:
        """Finish the files. May be called twice."""
        if self._mix is not None:
            length = max(len(self._left), len(self._right))
            self._left = np.pad(self._left, (0, length - len(self._left)))
            self._right = np.pad(self._right, (0, length - len(self._right)))
            self._write_mix()
        self._mix = self._tutor = None
        self._files.close()

    def _write_mix(self) -> None:
        length = min(len(self._left), len(self._right))
        if length and self._mix is not None:
            both = np.stack([self._left[:length], self._right[:length]], axis=1)
            self._mix.writeframes(both.astype("<i2").tobytes())
            self._left, self._right = self._left[length:], self._right[length:]


def _open(
    files: contextlib.ExitStack, path: Path | None, rate_hz: int, *, channels: int
) -> wave.Wave_write | None:
    if path is None:
        return None
    try:
        # Opened here, not by `wave`: a path that cannot be written must not leave a half-made
        # writer whose finalizer complains.
        handle = files.enter_context(path.open("wb"))
    except OSError as error:
        raise cannot_write(path, error) from error
    writer: wave.Wave_write = wave.open(handle, "wb")  # noqa: SIM115  `files` closes it
    files.enter_context(writer)
    writer.setnchannels(channels)
    writer.setsampwidth(2)
    writer.setframerate(rate_hz)
    return writer


def check_writable(path: Path) -> None:
    """Fail before a conversation rather than after it.

    Raises:
        CliFailure: the folder is missing or cannot be written to.
    """
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error
    if not existed:
        path.unlink()


def cannot_write(path: Path, error: OSError) -> CliFailure:
    """The failure for a file that cannot be written."""
    return CliFailure(
        f"Cannot write {path}: {(error.strerror or str(error)).lower()}.",
        advice="Choose a folder that exists and that you may write to.",
        exit_code=ExitCode.USAGE,
    )
