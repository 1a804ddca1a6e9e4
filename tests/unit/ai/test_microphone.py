"""When a sample was spoken, told from when its messages came."""

import numpy as np
import pytest

from services.ai.engines.utterance import Microphone

FRAME = 320  # 20 ms
RATE = 16_000


def fed(arrivals: list[float]) -> Microphone:
    """A microphone that got one message of 20 ms at each of these times, in seconds."""
    microphone = Microphone(0, 512)
    for at in arrivals:
        microphone.frames(np.zeros(FRAME, np.int16), at)
    return microphone


def test_a_sample_is_as_old_as_what_followed_it_in_its_message() -> None:
    microphone = fed([10.02, 10.04, 10.06])
    assert microphone.spoken_at(480) == pytest.approx(10.03)


def test_a_moment_in_which_the_machine_stood_still_does_not_move_the_end_of_speech() -> None:
    """The wait was reported too short by as long as the machine had stood still."""
    steady = [10.02 + 0.02 * i for i in range(20)]
    held_up = [*steady[:8], *[max(at, 10.35) for at in steady[8:]]]
    assert fed(held_up).spoken_at(10 * FRAME) == pytest.approx(fed(steady).spoken_at(10 * FRAME))


def test_time_in_which_nothing_was_sent_is_not_counted() -> None:
    muted = [10.02, 10.04, 15.02, 15.04]
    assert fed(muted).spoken_at(3 * FRAME) == pytest.approx(15.02)
