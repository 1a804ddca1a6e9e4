"""Spool files: any chunks, overlaps, gaps and cuts give exactly the samples that were meant."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.media.adapters import spool
from services.media.adapters.spool import Samples, Spool
from services.media.recordings import Track
from services.media.timeline import (
    common_duration_ms,
    ms_to_samples,
    place,
    samples_to_ms,
)

RATES = {Track.LEARNER: 16_000, Track.TUTOR: 24_000}

stretches = st.lists(
    st.tuples(st.sampled_from(list(RATES)), st.integers(0, 3_000), st.integers(1, 900)),
    max_size=25,
)


class Model:
    """What a track must hold, said the plain way: what is there first stays."""

    def __init__(self) -> None:
        self.samples: list[int] = []

    def write(self, first: int, values: list[int]) -> None:
        for at, value in enumerate(values, first):
            if at < len(self.samples):
                continue
            self.samples += [0] * (at - len(self.samples)) + [value]


def content(folder: Path, track: Track) -> list[int]:
    pieces: list[Samples] = list(spool.read(folder, track))
    return [int(value) for piece in pieces for value in piece]


@settings(max_examples=150, deadline=None)
@given(stretches, st.sets(st.integers(0, 24)), st.booleans())
def test_any_stretches_give_exactly_the_samples_meant(
    written: list[tuple[Track, int, int]], reopened: set[int], odd: bool
) -> None:
    """Also when the spool is opened anew in between, and a kill left half a sample."""
    models = {track: Model() for track in RATES}
    with TemporaryDirectory() as name:
        folder = Path(name) / "spool"
        writer = Spool(folder, RATES)
        try:
            for index, (track, first, count) in enumerate(written):
                if index in reopened:
                    writer.close()
                    if odd:
                        with spool.track_path(folder, track).open("ab") as file:
                            file.write(b"\x7f")
                    writer = Spool(folder, RATES)
                values = np.arange(1 + 100 * index, 1 + 100 * index + count).astype(np.int16)
                writer.write(track, first, values.astype("<i2").tobytes())
                models[track].write(first, values.tolist())
            assert writer.lengths == {t: len(model.samples) for t, model in models.items()}
            writer.sync()
        finally:
            writer.close()
        for track, model in models.items():
            assert content(folder, track) == model.samples
            assert spool.spooled(folder, track) == len(model.samples)


def test_a_spool_that_was_never_written_has_no_samples(tmp_path: Path) -> None:
    assert spool.spooled(tmp_path / "nothing", Track.LEARNER) == 0


def test_what_is_no_spool_is_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody laid there, or a disk's folder that is root's."""
    assert list(spool.all_in(tmp_path / "none")) == []
    (tmp_path / "a file").write_bytes(b"x")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "recording").mkdir()
    listed = Path.iterdir

    def refused(folder: Path) -> Iterator[Path]:
        if folder.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refused)
    assert [name for name, _ in spool.all_in(tmp_path)] == ["recording"]


def test_resizing_adds_silence_at_the_end(tmp_path: Path) -> None:
    writer = Spool(tmp_path, RATES)
    writer.write(Track.LEARNER, 0, np.array([5, 6], "<i2").tobytes())
    writer.close()
    spool.resize(tmp_path, Track.LEARNER, 4)
    assert content(tmp_path, Track.LEARNER) == [5, 6, 0, 0]


def test_a_long_silence_takes_no_room(tmp_path: Path) -> None:
    writer = Spool(tmp_path, RATES)
    writer.write(Track.TUTOR, 24_000 * 3_600, b"\1\0")
    writer.close()
    path = spool.track_path(tmp_path, Track.TUTOR)
    assert path.stat().st_size > 170_000_000
    assert path.stat().st_blocks * 512 < 1_000_000


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**5))
def test_a_placement_covers_the_stretch_once(length: int, first: int, count: int) -> None:
    placed = place(length, first, count)
    assert placed.skip + placed.take == count
    assert min(placed.silence, placed.skip, placed.take) >= 0
    if placed.take:
        assert length + placed.silence == first + placed.skip
    else:
        assert placed.silence == 0


@given(st.integers(0, 10**7), st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 48_000]))
def test_milliseconds_hold_all_their_samples(samples: int, rate_hz: int) -> None:
    duration_ms = samples_to_ms(samples, rate_hz)
    assert ms_to_samples(duration_ms, rate_hz) >= samples
    assert ms_to_samples(max(duration_ms - 1, 0), rate_hz) <= samples


@pytest.mark.parametrize(("said_ms", "expected"), [(0, 1_001), (1_000, 1_001), (5_000, 5_000)])
def test_a_recording_is_as_long_as_its_longest_track(said_ms: int, expected: int) -> None:
    assert common_duration_ms(said_ms, [(16_001, 16_000), (24_000, 24_000)]) == expected
