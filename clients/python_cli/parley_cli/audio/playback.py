"""The reply on its way to the loudspeaker: a bounded jitter buffer that knows generations.

The network side pushes audio tagged with its generation; the loudspeaker side takes exactly as many
samples as it needs, silence where there are none. Invariants, whatever the order of calls:

- no sample of an older generation is taken once a newer one, or `stop`, was seen;
- what counts as heard only grows within a generation;
- `stop` empties the buffer at once.

Full: samples beyond `capacity_ms` are refused and counted. The server paces replies, so that means
a broken server, and memory stays bounded.

Safe to use from two threads: the sound card calls from its own. Nothing here waits for long.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from parley_cli.audio.files import Samples

# Two minutes: longer than any reply the tutor is asked for; 6 MB at 24 kHz.
DEFAULT_CAPACITY_MS = 120_000
# Waited for before the first sample, and again after running dry. One frame of a server that sends
# ahead of playback is enough; the wait is part of the silence that the learner hears.
DEFAULT_PREBUFFER_MS = 40
# Offsets come in whole milliseconds, so a chunk may seem to begin this much early or late.
_ROUNDING_MS = 2
# A jump forward is filled with silence up to this; farther is a broken server.
_LONGEST_GAP_MS = 10_000


@dataclass(frozen=True, slots=True)
class PlaybackPosition:
    """How far a reply has been played.

    Attributes:
        generation: of the reply; 0 before the first.
        heard_ms: how much the loudspeaker has given out.
        given_ms: how much it was given; whatever is done now, so much will be heard.
        sounded: whether any of it was given out.
        dry: everything pushed so far was played; more may come.
        settled: nothing is on its way to the air, so `heard_ms` stays until more is played.
        drained: everything was played and nothing more will come.
        refused_samples: pushed beyond the capacity and not taken.
    """

    generation: int
    heard_ms: int
    given_ms: int
    sounded: bool
    dry: bool
    settled: bool
    drained: bool
    refused_samples: int


class PlaybackBuffer:
    """Audio of the newest reply, in order, ready to play.

    Args:
        sample_rate_hz: of everything pushed and taken; int16 mono.
        latency_ms: from `take` to the air; what was taken counts as heard so much later.
        capacity_ms: most audio held.
        prebuffer_ms: least audio to begin with.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        *,
        latency_ms: int = 0,
        capacity_ms: int = DEFAULT_CAPACITY_MS,
        prebuffer_ms: int = DEFAULT_PREBUFFER_MS,
    ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._latency = self._samples(latency_ms)
        self._capacity = self._samples(capacity_ms)
        self._prebuffer = self._samples(prebuffer_ms)
        self._lock = threading.Lock()
        self._chunks: deque[Samples] = deque()
        self._queued = 0
        self._generation = 0
        self._taken = 0
        # Samples of silence given out since the last sound: they push that to the air.
        self._silent = 0
        self._heard = 0
        self._complete = False
        self._stopped = True
        self._held = False
        self._flowing = False
        self._refused = 0

    def begin(self, generation: int) -> None:
        """Make room for a reply. One older than the newest seen changes nothing."""
        with self._lock:
            self._begin(generation)

    def push(self, generation: int, offset_ms: int, samples: Samples) -> None:
        """Append audio of a reply that begins `offset_ms` into it.

        What was taken or queued already is skipped; a gap becomes silence.
        """
        with self._lock:
            self._begin(generation)
            if generation != self._generation or self._stopped or self._complete:
                return
            expected = self._taken + self._queued
            begin = self._samples(offset_ms)
            if abs(begin - expected) > self._samples(_ROUNDING_MS):
                if begin < expected:
                    samples = samples[expected - begin :]
                else:
                    gap = min(begin - expected, self._samples(_LONGEST_GAP_MS))
                    self._append(np.zeros(gap, dtype=np.int16))
            self._append(samples)

    def complete(self, generation: int) -> None:
        """Say that nothing more of this reply will come."""
        with self._lock:
            if generation == self._generation:
                self._complete = True

    def stop(self, generation: int) -> None:
        """Fall silent at once: drop what is queued of this reply and of older ones."""
        with self._lock:
            if generation >= self._generation:
                self._begin(generation)
                self._chunks.clear()
                self._queued = 0
                self._stopped = True
                self._held = False

    def hold(self) -> None:
        """Stop where it is and keep what is queued."""
        with self._lock:
            self._held = True

    def go_on(self) -> None:
        """Go on after `hold`."""
        with self._lock:
            self._held = False

    def take(self, count: int) -> Samples:
        """Return exactly `count` samples for the loudspeaker, silence where there is no audio."""
        out = np.zeros(count, dtype=np.int16)
        with self._lock:
            filled = 0
            if self._held or self._stopped or not self._may_flow():
                self._count(0, count)
                return out
            while filled < count and self._chunks:
                chunk = self._chunks[0]
                part = chunk[: count - filled]
                out[filled : filled + len(part)] = part
                filled += len(part)
                if len(part) == len(chunk):
                    self._chunks.popleft()
                else:
                    self._chunks[0] = chunk[len(part) :]
            self._queued -= filled
            self._flowing = self._queued > 0
            self._count(filled, count - filled)
        return out

    def position(self) -> PlaybackPosition:
        """Tell how far the newest reply has been played."""
        with self._lock:
            aired = self._heard >= self._taken
            dry = aired and self._queued == 0
            return PlaybackPosition(
                generation=self._generation,
                heard_ms=self._heard * 1000 // self.sample_rate_hz,
                given_ms=self._taken * 1000 // self.sample_rate_hz,
                sounded=self._taken > 0,
                dry=dry,
                settled=dry or (aired and self._held),
                drained=self._stopped or (self._complete and dry),
                refused_samples=self._refused,
            )

    def _begin(self, generation: int) -> None:
        if generation <= self._generation:
            return
        self._generation = generation
        self._chunks.clear()
        self._queued = 0
        self._taken = 0
        self._silent = 0
        self._heard = 0
        self._complete = False
        self._stopped = False
        self._held = False
        self._flowing = False

    def _append(self, samples: Samples) -> None:
        room = self._capacity - self._queued
        if len(samples) > room:
            self._refused += len(samples) - room
            samples = samples[:room]
        if len(samples):
            self._chunks.append(samples)
            self._queued += len(samples)

    def _may_flow(self) -> bool:
        return self._flowing or self._complete or self._queued >= self._prebuffer

    def _count(self, filled: int, silent: int) -> None:
        self._taken += filled
        self._silent = silent if filled else self._silent + silent
        in_flight = max(0, self._latency - self._silent)
        self._heard = max(self._heard, self._taken - in_flight)

    def _samples(self, duration_ms: int) -> int:
        return duration_ms * self.sample_rate_hz // 1000
