"""Live sessions as load: each speaks and listens in real time, 20 ms at a time, for ever.

A session repeats one cycle: a second and a half of loud tone, then silence while the answer plays.
Each session stands at a random place of the cycle. Lateness is what the listener hears: how much
later each 20 ms of an answer sounds than it would on the idle server, whose wait was measured
first; a player that runs dry sounds everything after that later too.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from bench.live import RATE_HZ
from bench.report import percentile

FRAME_S = 0.02
_FRAME_SAMPLES = RATE_HZ // 50
_SPEECH_FRAMES = 75
_CYCLE_FRAMES = 300
CYCLE_S = _CYCLE_FRAMES * FRAME_S
# An answer that has not begun when the next question does never will; its frames count as this
# late. Scripted answers are two to three seconds long.
_MISSING_FRAMES = 125
# Beyond these it is the load that is late, or the core is not the server's: half of what counts as
# late, and a share that a desktop's background does not reach.
_SENDER_LATE_MS = 20.0
_OTHERS_CORES = 0.1
# A level that both systems' loudness detectors take for speech.
_LEVEL = 12_000


def phases(count: int, seed: int) -> list[float]:
    """Return where in the cycle each of `count` sessions stands, as shares of it.

    Each stands anywhere, whatever the others do, as learners who know nothing of each other: some
    speak, are answered and send their frames at the same moment. A seed gives the same places to
    every system, and more sessions only join those of a smaller count.
    """
    random = Random(seed)
    return [random.random() for _ in range(count)]


def place_s(now: float, phase: float) -> float:
    """Return the second of its cycle at which a session stands `now`, by the monotonic clock.

    When it opened does not matter: sessions that open one after another, each at its phase, would
    come together, the more of them the closer.
    """
    return (now + phase * CYCLE_S) % CYCLE_S


def _tone() -> bytes:
    times = np.arange(_FRAME_SAMPLES) / RATE_HZ
    return (_LEVEL * np.sin(2 * np.pi * 200 * times)).astype("<i2").tobytes()


LOUD = _tone()
QUIET = bytes(2 * _FRAME_SAMPLES)


@dataclass(slots=True)
class Lateness:
    """What sessions hear while it is measured. `wait_s` is the idle server's wait."""

    wait_s: float = 0.0
    late: list[tuple[float, int]] = field(default_factory=list)
    """Lateness in seconds, and how many frames were so late."""
    waits: list[float] = field(default_factory=list)
    missing: int = 0
    sent_late: list[float] = field(default_factory=list)
    """How late the load itself sent its frames, in seconds."""


class LoadedSession(ABC):
    """One session. A subclass opens the connection, sends frames and calls `heard`."""

    def __init__(self, phase: float) -> None:
        self._phase = phase
        self._record: Lateness | None = None
        self._spoken_at: float | None = None
        self._shift_s = 0.0
        self._heard_s = 0.0
        self.failed = ""
        self.stopping = False

    @abstractmethod
    async def open(self) -> None:
        """Connect."""

    @abstractmethod
    async def send(self, frame: int, pcm: bytes) -> None:
        """Send frame number `frame`."""

    @abstractmethod
    async def listen(self) -> None:
        """Read until the session ends, and call `heard` for every stretch of reply audio.

        Raises `ConnectionError` when it ends without having been asked to.
        """

    @abstractmethod
    async def finish(self) -> None:
        """Ask the server to end the session."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    async def run(self) -> None:
        """Speak and listen until stopped; cancelling it drops the session."""
        try:
            await self.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.listen())
                tasks.create_task(self._speak())
        except* Exception as errors:  # noqa: BLE001 - a lost session is a result, not an end
            self.failed = self.failed or repr(errors.exceptions[0])
        finally:
            await self.close()

    def stop(self) -> None:
        """End in good order: a session that is cut off keeps its place for minutes."""
        self.stopping = True

    def record_to(self, record: Lateness | None) -> None:
        """Begin to record, from the next question on, or stop."""
        self._record = record
        self._spoken_at = None

    async def _speak(self) -> None:
        now = time.monotonic()
        started = now - place_s(now, self._phase)
        first = math.ceil((now - started) / FRAME_S)
        frame = first
        while not self.stopping:
            place = frame % _CYCLE_FRAMES
            frame += 1
            due = started + frame * FRAME_S
            await asyncio.sleep(due - time.monotonic())
            if place == 0:
                self._close_answer()
            if self._record is not None:
                self._record.sent_late.append(time.monotonic() - due)
            await self.send(frame - 1 - first, LOUD if place < _SPEECH_FRAMES else QUIET)
            if place == _SPEECH_FRAMES - 1 and self._record is not None:
                self._spoken_at, self._heard_s, self._shift_s = due, 0.0, -math.inf
        await self.finish()

    def _close_answer(self) -> None:
        if self._record is not None and self._spoken_at is not None and not self._heard_s:
            self._record.missing += 1
            self._record.late.append((math.inf, _MISSING_FRAMES))
        self._spoken_at = None

    def heard(self, seconds: float) -> None:
        """Note that this much reply audio has just arrived."""
        if self._record is None or self._spoken_at is None:
            return
        since = time.monotonic() - self._spoken_at
        if not self._heard_s:
            self._record.waits.append(since)
        self._shift_s = max(self._shift_s, since - self._record.wait_s - self._heard_s)
        self._heard_s += seconds
        self._record.late.append((self._shift_s, round(seconds / FRAME_S)))


@dataclass(frozen=True, slots=True)
class Step:
    """What so many sessions at once heard."""

    sessions: int
    p50_ms: float
    p99_ms: float
    """Lateness of the frames."""
    answers: int
    missing: int
    failed: int
    failure: str
    """Why the first of those that failed did."""
    sender_p99_ms: float
    """How late the load itself was: near the lateness, it is the load that was measured."""
    server_cores: float
    others_cores: float
    """What everybody else used of the server's core meanwhile."""
    cpu_ms: Mapping[str, float] = field(default_factory=dict)
    """Of each of the server's programs: milliseconds of CPU time for a second of a session."""

    @property
    def is_undisturbed(self) -> bool:
        """Whether it was the server that was measured, and not the load or a busy machine."""
        return self.sender_p99_ms <= _SENDER_LATE_MS and self.others_cores <= _OTHERS_CORES

    def fields(self) -> dict[str, object]:
        """Return it as JSON fields; a lateness without end is null."""
        return {
            "sessions": self.sessions,
            "lateness_p50_ms": _finite(self.p50_ms),
            "lateness_p99_ms": _finite(self.p99_ms),
            "answers": self.answers,
            "missing": self.missing,
            "failed": self.failed,
            "failure": self.failure,
            "sender_p99_ms": round(self.sender_p99_ms, 2),
            "server_cores": round(self.server_cores, 3),
            "others_cores": round(self.others_cores, 3),
            "cpu_ms": {name: round(each, 2) for name, each in self.cpu_ms.items()},
        }


def _finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None


def step_of(
    sessions: int,
    record: Lateness,
    failures: Sequence[str],
    server_cores: float,
    others_cores: float = 0.0,
    cpu_ms: Mapping[str, float] | None = None,
) -> Step:
    """Summarise a recording."""
    p50, p99 = (weighted_percentile(record.late, each) for each in (50, 99))
    return Step(
        sessions=sessions,
        p50_ms=1000 * p50,
        p99_ms=1000 * p99 if not failures else math.inf,
        answers=len(record.waits),
        missing=record.missing,
        failed=len(failures),
        failure=failures[0] if failures else "",
        sender_p99_ms=1000 * percentile(sorted(record.sent_late) or [math.inf], 99),
        server_cores=server_cores,
        others_cores=others_cores,
        cpu_ms=cpu_ms or {},
    )


def weighted_percentile(values: Sequence[tuple[float, int]], percent: float) -> float:
    """Return the nearest-rank percentile of (value, how often); infinity where there is none."""
    rank = math.ceil(percent / 100 * sum(count for _, count in values))
    for value, count in sorted(values):
        rank -= count
        if rank <= 0:
            return value
    return math.inf
