"""Codec processes: what breaks is replaced, and who waits for it is answered."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry

from services.common.clock import SystemClock
from services.common.errors import Internal, Unavailable
from services.common.ids import new_id
from services.media.adapters import codec_jobs, codec_pool, originals
from services.media.adapters.codec_pool import CodecPool
from services.media.adapters.spool import Spool
from services.media.metrics import MediaMetrics
from services.media.ports import DamagedError, Originals
from services.media.recordings import Recording, State, Track
from services.media.renditions import Encoding, choose

RATES = {Track.LEARNER: 16_000, Track.TUTOR: 24_000}


@dataclass
class Workshop:
    """A pool, and a recording of which it makes renditions."""

    pool: CodecPool
    registry: CollectorRegistry
    folder: Path
    recording: Recording
    files: dict[Track, Path]

    def render(self, open_original: Callable[[Track], BinaryIO] | None = None) -> bytes:
        to = self.folder / "mix.wav"
        wanted = choose(self.recording, Track.MIX, Encoding.WAV, 0, 0)
        self.pool.render(self.recording, wanted, open_original or self.opened, to)
        return to.read_bytes()

    def opened(self, track: Track) -> BinaryIO:
        return self.files[track].open("rb")

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"parley_media_{name}", labels) or 0.0

    def killing(self, times: int) -> Callable[[Track], BinaryIO]:
        """Return what opens originals whose reader is killed in the midst of reading, so often."""
        left = [times]

        def kill() -> None:
            if left[0]:
                left[0] -= 1
                os.kill(self.pool.pids[0], signal.SIGKILL)

        return lambda track: Told(self.files[track].read_bytes(), kill)


class Told(io.BytesIO):
    """A file that tells of every reading."""

    def __init__(self, data: bytes, tell: Callable[[], None]) -> None:
        super().__init__(data)
        self._tell = tell

    def read(self, *most: Any) -> bytes:
        self._tell()
        return super().read(*most)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    spool = tmp_path / "spool"
    noise = np.random.default_rng(1).integers(-3_000, 3_000, 72_000).astype("<i2")
    writer = Spool(spool, RATES)
    writer.write(Track.LEARNER, 0, noise[:32_000].tobytes())
    writer.write(Track.TUTOR, 24_000, noise[24_000:].tobytes())
    writer.close()
    registry = CollectorRegistry()
    pool = CodecPool((tmp_path,), MediaMetrics(registry))
    try:
        made = pool.make_originals(spool, RATES, 0)
        recording = Recording(
            recording_id=new_id(),
            conversation_id=new_id(),
            user_id=new_id(),
            state=State.READY,
            started_at=SystemClock().now(),
            rates_hz=RATES,
            duration_ms=made.duration_ms,
            tracks=made.tracks,
        )
        yield Workshop(pool, registry, tmp_path, recording, made.files)
    finally:
        pool.close()
        assert pool.pids == []


def test_a_process_makes_what_would_be_made_here(workshop: Workshop) -> None:
    here = originals.make_originals(workshop.folder / "spool", RATES, 0)
    assert workshop.pool.make_originals(workshop.folder / "spool", RATES, 0) == here
    assert workshop.render() == workshop.render()


def test_one_process_does_one_job_after_another(workshop: Workshop) -> None:
    (pid,) = workshop.pool.pids
    workshop.render()
    workshop.render()
    assert workshop.pool.pids == [pid]


def test_a_job_whose_process_is_killed_is_done_by_another(workshop: Workshop) -> None:
    whole, before = workshop.render(), workshop.pool.pids
    assert workshop.render(workshop.killing(1)) == whole
    assert len(workshop.pool.pids) == 1
    assert workshop.pool.pids != before
    assert workshop.counted("process_deaths_total", job="render") == 1
    assert workshop.counted("jobs_total", job="render", outcome="done") == 2


def test_a_job_that_kills_two_processes_is_given_up_and_the_next_is_done(
    workshop: Workshop,
) -> None:
    whole = workshop.render()
    with pytest.raises(Internal) as caught:
        workshop.render(workshop.killing(2))
    assert (caught.value.reason, caught.value.retryable) == ("TRANSCODING_FAILED", True)
    assert not list(workshop.folder.glob("*.part"))
    assert workshop.counted("jobs_total", job="render", outcome="broken") == 1
    assert workshop.render() == whole
    assert len(workshop.pool.pids) == 1


def test_an_idle_process_that_was_killed_is_not_given_a_job(workshop: Workshop) -> None:
    (pid,) = workshop.pool.pids
    os.kill(pid, signal.SIGKILL)
    psutil.Process(pid).wait(20)
    workshop.render()
    assert pid not in workshop.pool.pids
    assert workshop.counted("process_deaths_total", job="render") == 0


def test_a_process_that_is_stuck_is_ended(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job is then as one whose process died: it asked for nothing and said nothing."""
    monkeypatch.setattr(codec_pool, "_LEAST_SECONDS", -100.0)
    before = workshop.pool.pids
    with pytest.raises(Internal):
        workshop.render()
    assert not set(before) & set(workshop.pool.pids)
    monkeypatch.undo()
    workshop.render()


@pytest.mark.parametrize("error", [FileNotFoundError(), Unavailable("away", reason="X")])
def test_what_the_store_says_is_what_the_caller_hears(workshop: Workshop, error: Exception) -> None:
    def away(track: Track) -> BinaryIO:
        raise error

    before = workshop.pool.pids
    with pytest.raises(type(error)) as caught:
        workshop.render(away)
    assert caught.value is error
    assert workshop.pool.pids == before
    workshop.render()


def test_an_original_that_is_broken_breaks_its_own_job_alone(workshop: Workshop) -> None:
    before = workshop.pool.pids
    with pytest.raises(DamagedError):
        workshop.render(lambda _: io.BytesIO(b"fLaC" + b"\xff" * 200_000))
    assert workshop.pool.pids == before
    workshop.render()


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"tracks": [[9, {}]], "duration_ms": 0, "waveform": ""},
        {"tracks": [], "duration_ms": 0, "waveform": ""},
        {"tracks": 7, "duration_ms": "long", "waveform": None},
    ],
)
def test_what_cannot_be_an_answer_is_none(tmp_path: Path, made: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        codec_jobs.read_originals(made, tmp_path, RATES)


def test_a_process_that_says_what_it_cannot_is_replaced(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a codec made of it: it can name no file of its own, and is not asked again."""

    def nonsense(*_: object) -> Originals:
        raise KeyError("tracks")

    before = workshop.pool.pids
    monkeypatch.setattr(codec_jobs, "read_originals", nonsense)
    with pytest.raises(Internal):
        workshop.pool.make_originals(workshop.folder / "spool", RATES, 0)
    monkeypatch.undo()
    made = workshop.pool.make_originals(workshop.folder / "spool", RATES, 0)
    assert set(made.files.values()) == {
        workshop.folder / "spool" / f"{t.label}.flac" for t in RATES
    }
    assert not set(before) & set(workshop.pool.pids)


def test_a_spool_that_is_gone_is_missing(workshop: Workshop) -> None:
    with pytest.raises(FileNotFoundError):
        workshop.pool.make_originals(workshop.folder / "gone", RATES, 0)


def test_a_process_without_work_gives_its_memory_back(workshop: Workshop) -> None:
    workshop.pool.rest(3_600)
    assert len(workshop.pool.pids) == 1
    workshop.pool.rest(0)
    assert workshop.pool.pids == []
    workshop.render()


def test_a_folder_that_was_deleted_is_made_and_reached_again(workshop: Workshop) -> None:
    """The cache may be deleted at any time: all rendering failed until the service began anew."""
    cache = workshop.folder / "cache"
    pool = CodecPool((workshop.folder / "spool", cache), MediaMetrics(CollectorRegistry()))
    rendering = replace(workshop, pool=pool, folder=cache)
    try:
        whole = rendering.render()
        shutil.rmtree(cache)
        cache.mkdir()
        assert rendering.render() == whole
        shutil.rmtree(cache)
        assert rendering.render() == whole
        assert len(pool.pids) == 1
    finally:
        pool.close()


def test_a_closed_pool_takes_no_jobs(workshop: Workshop) -> None:
    workshop.pool.close()
    with pytest.raises(Unavailable) as caught:
        workshop.render()
    assert caught.value.reason == "SERVICE_STOPPING"
    assert workshop.pool.pids == []
