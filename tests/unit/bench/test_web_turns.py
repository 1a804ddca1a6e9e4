"""The wait is measured from where the recording really lies to what really sounds."""

from __future__ import annotations

import numpy as np
import pytest

from bench.live import RATE_HZ
from bench.web_turns import Wait, answered, cpu_a_second, paired, place_of, wait_of
from tests.e2e.web.microphone import silence, tone
from tests.e2e.web.taps import Stretch


def speech(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 3000, int(seconds * RATE_HZ))
    return np.concatenate([silence(0.2), noise.astype(np.int16), silence(0.3)])


@pytest.mark.parametrize("before_s", [0.0, 0.7, 2.0])
def test_a_recording_is_found_where_it_lies(before_s):
    recording = speech(1.0)
    whole = np.concatenate([silence(before_s), recording, silence(3.0)])
    assert place_of(recording, Stretch(whole, RATE_HZ, 0.0)) == int(before_s * RATE_HZ)


def test_it_is_found_at_the_rate_of_another_machine():
    recording = speech(1.0)
    whole = np.concatenate([silence(0.5), recording, silence(1.0)])
    thrice = np.repeat(whole, 3)
    assert place_of(recording, Stretch(thrice, 3 * RATE_HZ, 0.0)) == pytest.approx(8000, abs=3)


def test_the_wait_is_from_the_true_end_of_speech_to_the_first_sound():
    recording = speech(1.0)
    heard = Stretch(np.concatenate([silence(0.5), recording, silence(3.0)]), RATE_HZ, 1000.0)
    # Speech ends 0.5 + 0.2 + 1.0 s in: at 2700 ms. The loudspeaker's context began at 500 ms.
    played = Stretch(np.concatenate([silence(2.6), tone(0.5)]), RATE_HZ, 500.0)
    assert wait_of(heard, played, recording).ms == pytest.approx(400, abs=15)


def test_who_never_answers_is_not_said_to_be_early():
    recording = speech(1.0)
    heard = Stretch(np.concatenate([silence(0.5), recording]), RATE_HZ, 0.0)
    assert wait_of(heard, Stretch(silence(9.0), RATE_HZ, 0.0), recording) == Wait()


def test_who_speaks_in_the_middle_of_a_recording_has_no_wait_but_was_early():
    recording = speech(1.0)
    heard = Stretch(np.concatenate([silence(0.5), recording, silence(1.0)]), RATE_HZ, 0.0)
    # Silenced by what followed, and sounding again in the end: neither is the answer's begin.
    played = Stretch(np.concatenate([silence(1.2), tone(0.3), silence(0.5), tone(0.5)]), RATE_HZ, 0)
    wait = wait_of(heard, played, recording)
    assert wait.early
    assert wait.ms is None


def test_what_sounded_before_the_recording_is_no_answer():
    recording = speech(1.0)
    heard = Stretch(np.concatenate([silence(1.0), recording, silence(1.0)]), RATE_HZ, 0.0)
    played = Stretch(np.concatenate([tone(0.5), silence(2.0)]), RATE_HZ, 0.0)
    assert wait_of(heard, played, recording) == Wait()


def test_a_recording_without_speech_is_refused():
    with pytest.raises(ValueError, match="no speech"):
        stretch = Stretch(silence(2), RATE_HZ, 0.0)
        wait_of(stretch, stretch, silence(1.0))


def test_waits_are_compared_recording_by_recording_where_both_were_answered():
    before = [Wait(100.0), Wait(), Wait(900.0), Wait(400.0)]
    after = [Wait(130.0), Wait(500.0), Wait(early=True), Wait(390.0)]
    assert paired(before, after) == [30.0, -10.0]
    assert answered(after) == [130.0, 500.0, 390.0]


def test_cpu_time_is_told_for_each_second_of_talk():
    waits = [Wait(1.0, cpu_s={"page": 1.0, "ai": 4.0}, seconds=4.0), Wait(), Wait(seconds=0.0)]
    assert cpu_a_second(waits) == {"page": 0.25, "ai": 1.0}
    assert cpu_a_second([Wait()]) == {}
