"""The buffer between the network and the loudspeaker, under every order of calls."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parley_cli.audio.files import Samples
from parley_cli.audio.playback import PlaybackBuffer

RATE = 1000  # a sample a millisecond keeps the arithmetic in sight


def buffer(**options: int) -> PlaybackBuffer:
    return PlaybackBuffer(RATE, **{"prebuffer_ms": 0, **options})


def chunk(value: int, length: int) -> Samples:
    return np.full(length, value, dtype=np.int16)


def test_what_is_pushed_comes_out_in_order_and_then_silence() -> None:
    playback = buffer()
    playback.push(1, 0, chunk(7, 30))
    playback.push(1, 30, chunk(8, 20))
    taken = playback.take(60)
    assert taken.tolist() == [7] * 30 + [8] * 20 + [0] * 10


def test_nothing_plays_before_enough_is_there_to_play_without_gaps() -> None:
    playback = buffer(prebuffer_ms=40)
    playback.push(1, 0, chunk(7, 30))
    assert not playback.take(20).any()
    playback.push(1, 30, chunk(7, 10))
    assert playback.take(20).all()


def test_a_reply_shorter_than_the_prebuffer_plays_once_it_is_complete() -> None:
    playback = buffer(prebuffer_ms=40)
    playback.push(1, 0, chunk(7, 10))
    playback.complete(1)
    assert playback.take(10).all()
    assert playback.position().drained


def test_a_newer_generation_silences_the_older_at_once() -> None:
    playback = buffer()
    playback.push(1, 0, chunk(7, 100))
    playback.begin(2)
    assert not playback.take(50).any()
    playback.push(1, 100, chunk(7, 100))
    assert not playback.take(50).any()
    playback.push(2, 0, chunk(9, 10))
    assert set(playback.take(10).tolist()) == {9}


def test_stopping_empties_at_once_and_later_audio_of_it_is_dropped() -> None:
    playback = buffer()
    playback.push(1, 0, chunk(7, 100))
    playback.take(10)
    playback.stop(1)
    playback.push(1, 100, chunk(7, 100))
    assert not playback.take(200).any()
    position = playback.position()
    assert (position.heard_ms, position.drained) == (10, True)


def test_holding_keeps_the_place() -> None:
    playback = buffer()
    playback.push(1, 0, chunk(7, 20))
    playback.take(5)
    playback.hold()
    assert not playback.take(50).any()
    assert playback.position().heard_ms == 5
    playback.go_on()
    assert playback.take(20).tolist() == [7] * 15 + [0] * 5


def test_audio_that_comes_again_after_a_reconnection_plays_once() -> None:
    playback = buffer()
    playback.push(1, 0, chunk(7, 40))
    playback.take(10)
    playback.push(1, 20, chunk(8, 40))
    assert playback.take(60).tolist() == [7] * 30 + [8] * 20 + [0] * 10


def test_a_gap_is_silence_so_that_heard_stays_true() -> None:
    playback = buffer()
    playback.push(1, 0, chunk(7, 10))
    playback.push(1, 30, chunk(8, 10))
    assert playback.take(40).tolist() == [7] * 10 + [0] * 20 + [8] * 10
    assert playback.position().heard_ms == 40


def test_a_chunk_a_millisecond_off_by_rounding_is_not_cut() -> None:
    playback = buffer()
    playback.push(1, 0, chunk(7, 10))
    playback.push(1, 9, chunk(8, 10))
    assert playback.take(20).tolist() == [7] * 10 + [8] * 10


def test_what_does_not_fit_is_refused_and_counted() -> None:
    playback = buffer(capacity_ms=50)
    playback.push(1, 0, chunk(7, 80))
    assert playback.position().refused_samples == 30


def test_samples_on_their_way_to_the_air_are_not_heard_yet() -> None:
    playback = buffer(latency_ms=20)
    playback.push(1, 0, chunk(7, 50))
    playback.take(30)
    assert playback.position().heard_ms == 10
    playback.take(30)
    assert playback.position().heard_ms == 40
    assert not playback.position().dry
    playback.take(20)
    assert playback.position().heard_ms == 50
    assert playback.position().dry


def test_what_is_on_its_way_when_it_is_held_is_heard_and_then_it_settles() -> None:
    playback = buffer(latency_ms=20)
    playback.push(1, 0, chunk(7, 50))
    playback.take(30)
    playback.hold()
    position = playback.position()
    assert (position.heard_ms, position.given_ms, position.settled) == (10, 30, False)
    assert not playback.take(20).any()
    position = playback.position()
    assert (position.heard_ms, position.given_ms, position.settled) == (30, 30, True)
    playback.go_on()
    assert not playback.position().settled
    assert playback.take(20).all()
    assert playback.position().heard_ms == 30


class PlaybackMachine(RuleBasedStateMachine):
    """Samples carry the number of their generation, so that the wrong one is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.playback = PlaybackBuffer(RATE, latency_ms=10, capacity_ms=500, prebuffer_ms=20)
        self.newest = 0
        self.pushed: dict[int, int] = {}
        self.stopped: set[int] = set()
        self.heard = (0, 0)
        self.held = False

    @rule(generation=st.integers(1, 6), length=st.integers(1, 200))
    def push(self, generation: int, length: int) -> None:
        if generation > self.newest:
            self.held = False
        self.newest = max(self.newest, generation)
        offset = self.pushed.get(generation, 0)
        self.pushed[generation] = offset + length
        self.playback.push(generation, offset, chunk(generation, length))

    @rule(generation=st.integers(1, 6))
    def begin(self, generation: int) -> None:
        if generation > self.newest:
            self.held = False
        self.newest = max(self.newest, generation)
        self.playback.begin(generation)

    @rule(generation=st.integers(1, 6))
    def stop(self, generation: int) -> None:
        self.playback.stop(generation)
        if generation >= self.newest:
            self.newest = generation
            self.stopped.add(generation)
            self.held = False

    @rule(generation=st.integers(1, 6))
    def complete(self, generation: int) -> None:
        self.playback.complete(generation)

    @rule()
    def hold(self) -> None:
        self.playback.hold()
        self.held = True

    @rule()
    def go_on(self) -> None:
        self.playback.go_on()
        self.held = False

    @rule(count=st.integers(1, 300))
    def take(self, count: int) -> None:
        taken = self.playback.take(count)
        assert len(taken) == count
        sounding = set(taken.tolist()) - {0}
        assert sounding <= {self.newest}, "an older generation was played"
        if self.held or self.newest in self.stopped:
            assert not sounding

    @precondition(lambda self: self.newest in self.stopped)
    @rule()
    def stopped_means_silent(self) -> None:
        assert self.playback.position().drained

    @invariant()
    def heard_only_grows_within_a_generation(self) -> None:
        position = self.playback.position()
        generation, heard_ms = self.heard
        assert position.generation >= generation
        if position.generation == generation:
            assert position.heard_ms >= heard_ms
        assert position.heard_ms <= self.pushed.get(position.generation, 0)
        self.heard = (position.generation, position.heard_ms)


TestPlaybackMachine = PlaybackMachine.TestCase
TestPlaybackMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
