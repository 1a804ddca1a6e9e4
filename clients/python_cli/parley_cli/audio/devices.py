"""The machine's own microphone and loudspeaker, through miniaudio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import miniaudio
import numpy as np

from parley_cli.audio.cards import OnCaptured, OnPlayed
from parley_cli.audio.echo import EchoCanceller
from parley_cli.audio.files import Samples
from parley_cli.audio.playback import PlaybackBuffer
from parley_cli.failures import CliFailure, ExitCode

# A device period. Shorter drops out on busy laptops; longer is heard as delay.
_PERIOD_MS = 20
# From the callback to the air: miniaudio keeps three periods in flight.
OUTPUT_LATENCY_MS = 3 * _PERIOD_MS
# Captured frames waiting for the network: 2 s, then the oldest are dropped, and the server fills
# the gap with silence.
_CAPTURE_QUEUE = 100
# ALSA lists this where there is no card at all.
_NOT_A_DEVICE = "Discard all samples"

NO_DEVICE_ADVICE = (
    "Connect a headset, or choose it as the system's default device; on Linux install "
    "libasound2-plugins or PipeWire. Without one: `parley talk --input question.wav --output "
    "reply.wav` talks from recordings, and `parley talk --text` by typing."
)


@dataclass(frozen=True, slots=True)
class AudioDevices:
    """The names of what this machine can hear and play with; the backend that knows them."""

    backend: str
    microphones: tuple[str, ...]
    loudspeakers: tuple[str, ...]


def list_devices() -> AudioDevices:
    """List microphones and loudspeakers. Empty lists where there are none."""
    try:
        with quiet_stderr():
            devices = miniaudio.Devices()
            captures, playbacks = devices.get_captures(), devices.get_playbacks()
    except miniaudio.MiniaudioError as error:
        return AudioDevices(str(error), (), ())
    return AudioDevices(str(devices.backend), _names(captures), _names(playbacks))


class DeviceCard:
    """The default microphone and loudspeaker.

    Make it before connecting, so that a machine without them is told at once.

    Args:
        capture_rate_hz: of what is heard; miniaudio converts.
        frame_ms: length of a captured frame.
        microphone: False plays only.
        cancel_echo: take what the loudspeaker plays out of what the microphone hears; not for
            headphones, which have no echo.

    Raises:
        CliFailure: there is no device (exit code 5).
    """

    def __init__(
        self,
        *,
        capture_rate_hz: int,
        frame_ms: int,
        microphone: bool = True,
        cancel_echo: bool = True,
    ) -> None:
        self._capture_rate_hz = capture_rate_hz
        self._frame = capture_rate_hz * frame_ms // 1000
        self._microphone = microphone
        self._cancel_echo = microphone and cancel_echo
        found = list_devices()
        if not found.loudspeakers:
            raise _no_device("loudspeaker")
        if microphone and not found.microphones:
            raise _no_device("microphone")

    async def run(
        self, playback: PlaybackBuffer, on_captured: OnCaptured, on_played: OnPlayed
    ) -> None:
        """Hear and play until cancelled. Callbacks of the device only copy."""
        loop = asyncio.get_running_loop()
        echo = self._echo_canceller(playback.sample_rate_hz)
        heard: asyncio.Queue[tuple[Samples, float]] = asyncio.Queue(_CAPTURE_QUEUE)

        def hear(samples: Samples, at: float) -> None:
            if heard.full():
                heard.get_nowait()
            heard.put_nowait((samples, at))

        def capturing() -> Generator[None, bytes, None]:
            while True:
                data = yield
                samples = np.frombuffer(bytes(data), dtype="<i2")
                loop.call_soon_threadsafe(hear, samples, time.monotonic())

        def playing() -> Generator[bytes, int, None]:
            count = yield b""
            while True:
                samples = playback.take(count)
                if echo is not None:
                    echo.played(samples)
                loop.call_soon_threadsafe(on_played, samples, time.monotonic())
                count = yield samples.tobytes()

        with contextlib.ExitStack() as stack:
            speaker = self._open(miniaudio.PlaybackDevice, playback.sample_rate_hz, "loudspeaker")
            stack.callback(speaker.close)
            speaker.start(_primed(playing()))
            if self._microphone:
                microphone = self._open(
                    miniaudio.CaptureDevice, self._capture_rate_hz, "microphone"
                )
                stack.callback(microphone.close)
                microphone.start(_primed(capturing()))
            pending = np.zeros(0, dtype=np.int16)
            while True:
                samples, at = await heard.get()
                if echo is not None:
                    samples = echo.clean(samples)
                    at -= echo.waiting_samples / self._capture_rate_hz
                pending = np.concatenate([pending, samples])
                while len(pending) >= self._frame:
                    frame, pending = pending[: self._frame], pending[self._frame :]
                    await on_captured(frame, at - len(pending) / self._capture_rate_hz)

    def _echo_canceller(self, playback_rate_hz: int) -> EchoCanceller | None:
        if not self._cancel_echo:
            return None
        return EchoCanceller(
            capture_rate_hz=self._capture_rate_hz, playback_rate_hz=playback_rate_hz
        )

    def _open(self, kind: Any, rate_hz: int, name: str) -> Any:
        try:
            with quiet_stderr():
                return kind(
                    nchannels=1,
                    sample_rate=rate_hz,
                    buffersize_msec=_PERIOD_MS,
                    app_name="parley",
                )
        except miniaudio.MiniaudioError as error:
            raise _no_device(name, str(error)) from error


def _primed(generator: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
    """Run a generator to its first `yield`, as miniaudio wants it."""
    next(generator)
    return generator


def _names(devices: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(d["name"] for d in devices if not d["name"].startswith(_NOT_A_DEVICE))


def _no_device(name: str, details: str = "") -> CliFailure:
    return CliFailure(
        f"This machine has no {name} that can be used.",
        advice=NO_DEVICE_ADVICE,
        exit_code=ExitCode.NO_AUDIO_DEVICE,
        details=details,
    )


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep sound libraries, which write to file descriptor 2 themselves, from doing so."""
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
