"""The pace of the learner's audio: bursts are borne, files are not."""

import pytest

from services.common.errors import ResourceExhausted
from services.common.limits import DEFAULT_LIMITS
from services.conversation.audio_gate import MAX_CATCH_UP_S, AudioGate

FRAME_MS = 20.0


def send(gate: AudioGate, frames: int, start: float, pace: float) -> tuple[float, float]:
    """Send frames `pace` times as fast as speech; return the time it took and the waits in all."""
    now, waited = start, 0.0
    for _ in range(frames):
        wait = gate.admit(FRAME_MS, now)
        waited += wait
        now += wait + FRAME_MS / 1000 / pace
    return now - start, waited


def test_speech_is_never_held_back() -> None:
    assert send(AudioGate(2000), 50 * 3600, 0.0, 1.0)[1] == 0


def test_a_burst_within_the_bound_is_not_held_back_and_what_lies_beyond_it_is() -> None:
    gate = AudioGate(2000)
    assert [gate.admit(200, 0.0) for _ in range(10)] == [0.0] * 10
    assert gate.admit(1, 0.0) == pytest.approx(0.001)


def test_so_long_may_audio_be_held_back_in_all_and_no_longer() -> None:
    gate = AudioGate(2000, held_back_s=1.0)
    gate.admit(2000, 0.0)
    now = 0.0
    for _ in range(5):
        now += gate.admit(200, now)
    assert now == pytest.approx(1.0)
    # Rounding: the five of 200 ms are a second and a little.
    with pytest.raises(ResourceExhausted) as caught:
        gate.admit(1, now)
    assert caught.value.reason == "AUDIO_TOO_FAST"


def test_what_piled_up_in_a_stall_is_caught_up_with_at_once() -> None:
    """A server that stood still for 6 s used to stay 4 s behind and then blame the client."""
    gate = AudioGate(2000)
    send(gate, 100, 0.0, 1.0)
    assert all(gate.admit(FRAME_MS, 8.0) == 0 for _ in range(300))
    assert send(gate, 50 * 60, 8.0, 1.0)[1] == 0


def test_silence_earns_what_may_be_caught_up_with_and_no_file() -> None:
    gate = AudioGate(2000)
    gate.admit(FRAME_MS, 0.0)
    assert gate.admit(1000 * MAX_CATCH_UP_S, 3600.0) == 0
    assert gate.admit(1, 3600.0) == pytest.approx(0.001)


def test_a_file_is_slowed_to_the_pace_of_speech_then_refused() -> None:
    gate = AudioGate(2000)
    took, waited = send(gate, 50 * 20, 0.0, 2.0)
    assert took == pytest.approx(18, abs=0.1)
    assert 0 < waited < DEFAULT_LIMITS.audio_held_back_seconds
    with pytest.raises(ResourceExhausted) as caught:
        send(gate, 50 * 120, took, 2.0)
    assert caught.value.reason == "AUDIO_TOO_FAST"


def test_a_session_that_goes_on_elsewhere_takes_what_piled_up_at_once() -> None:
    gate, burst = AudioGate(2000, catching_up=True), round(MAX_CATCH_UP_S * 5)
    assert max(gate.admit(200, 0.0) for _ in range(burst)) == pytest.approx(0)
    assert gate.admit(200, 0.0) > 0
