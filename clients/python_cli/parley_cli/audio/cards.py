"""Sound cards: something that hears in frames and plays what it is given, at the pace of a clock.

A card pulls from a `Microphone` or a real one, hands each frame on, and pushes a `PlaybackBuffer`
out. `VirtualCard` needs no hardware: recordings talk through it in real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from parley_cli.audio.files import Samples
from parley_cli.audio.playback import PlaybackBuffer

OnCaptured = Callable[[Samples, float], Awaitable[None]]
OnPlayed = Callable[[Samples, float], None]


class FrameSource(Protocol):
    """Where a virtual card hears."""

    def next_frame(self, count: int) -> Samples:
        """Return the next `count` samples; silence where nothing is said."""
        ...


class Card(Protocol):
    """A sound card."""

    def run(
        self, playback: PlaybackBuffer, on_captured: OnCaptured, on_played: OnPlayed
    ) -> Coroutine[Any, Any, None]:
        """Hear and play until cancelled.

        Args:
            playback: what to play.
            on_captured: awaited with each frame heard and the time its last sample was heard.
            on_played: called with each stretch given out, silence included, and when.
        """
        ...


class VirtualCard:
    """A card made of a clock.

    Every `frame_ms` it hears one frame of `source` and plays as much of the buffer. A frame is
    delivered when its last sample would have been heard, as a real microphone does it. Late frames
    are made up for at once; time never runs ahead of the clock.

    Args:
        source: what it hears.
        sample_rate_hz: of what it hears.
        frame_ms: length of a frame.
        now: seconds, monotonic.
        sleep_until: waits for such a time.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        sample_rate_hz: int,
        frame_ms: int,
        now: Callable[[], float],
        sleep_until: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._source = source
        self._rate = sample_rate_hz
        self._frame_ms = frame_ms
        self._now = now
        self._sleep_until = sleep_until or self._sleep

    async def run(
        self, playback: PlaybackBuffer, on_captured: OnCaptured, on_played: OnPlayed
    ) -> None:
        """Hear and play until cancelled."""
        begin = self._now()
        frame = self._rate * self._frame_ms // 1000
        played = 0
        tick = 0
        while True:
            tick += 1
            due = begin + tick * self._frame_ms / 1000
            await self._sleep_until(due)
            await on_captured(self._source.next_frame(frame), due)
            # Counted from the start, so that frames which are no whole number of samples at the
            # output's rate do not drift.
            wanted = tick * self._frame_ms * playback.sample_rate_hz // 1000 - played
            played += wanted
            on_played(playback.take(wanted), due)

    async def _sleep(self, until: float) -> None:
        # Even when late: a card that never yields would starve the receiver.
        await asyncio.sleep(max(0.0, until - self._now()))
