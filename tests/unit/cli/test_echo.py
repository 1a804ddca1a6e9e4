"""Echo cancellation: a simulated room around real voices."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from parley_cli.audio.echo import EchoCanceller
from parley_cli.audio.files import Samples, read_recording

SPEECH = Path(__file__).parents[2] / "data" / "speech"
NEAR_HZ, FAR_HZ = 16_000, 24_000
PERIOD_MS = 20
Signal = npt.NDArray[np.float64]


def voice(name: str, level_dbfs: float, rate: int = FAR_HZ) -> Signal:
    samples = read_recording(SPEECH / f"{name}.wav", rate).samples / 32768.0
    scaled: Signal = samples * 10 ** (level_dbfs / 20) / np.sqrt(np.mean(samples**2))
    return scaled


@pytest.fixture(scope="module")
def tutor() -> Signal:
    """Twelve seconds of a voice on the loudspeaker."""
    voices = [voice(name, -26) for name in ("000360210", "014070080", "021290121", "096300018")]
    spoken = np.concatenate([np.append(v, np.zeros(FAR_HZ // 4)) for v in voices])
    return np.resize(spoken, 12 * FAR_HZ)


def echo_of(played: Signal, *, delay_ms: int, loss_db: float) -> Signal:
    """What a microphone hears of it: later, quieter, and with a room of 200 ms around it."""
    near = soxr.resample(played, FAR_HZ, NEAR_HZ)
    random = np.random.default_rng(11)
    times = np.arange(NEAR_HZ // 5) / NEAR_HZ
    room = random.normal(0, 1, len(times)) * np.exp(-6.9 * times / 0.2)
    room[0] = 3.0
    room *= 10 ** (-loss_db / 20) / np.sqrt(np.sum(room**2))
    echo = np.convolve(near, room)
    delayed: Signal = np.concatenate([np.zeros(delay_ms * NEAR_HZ // 1000), echo])[: len(near)]
    return delayed


def int16(signal: Signal) -> Samples:
    samples: Samples = np.clip(np.rint(signal * 32767), -32768, 32767).astype(np.int16)
    return samples


def through(
    canceller: EchoCanceller, played: Signal, heard: Signal, *, late: dict[int, int] | None = None
) -> Signal:
    """Run two cards of 20 ms periods; `late` readings of the microphone come that much later."""
    far, near = int16(played), int16(heard)
    far_period, near_period = FAR_HZ * PERIOD_MS // 1000, NEAR_HZ * PERIOD_MS // 1000
    cleaned, due = [], 0
    for period in range(len(near) // near_period):
        canceller.played(far[period * far_period : (period + 1) * far_period])
        if (late or {}).get(period, 0):
            continue
        while due <= period:
            cleaned.append(canceller.clean(near[due * near_period : (due + 1) * near_period]))
            due += 1
    return np.concatenate(cleaned) / 32767


def level(signal: Signal, begin_s: float, end_s: float) -> float:
    part = signal[int(begin_s * NEAR_HZ) : int(end_s * NEAR_HZ)]
    return float(10 * np.log10(np.mean(part**2) + 1e-12))


def canceller() -> EchoCanceller:
    return EchoCanceller(capture_rate_hz=NEAR_HZ, playback_rate_hz=FAR_HZ)


@pytest.mark.parametrize("delay_ms", [40, 120, 200])
@pytest.mark.parametrize("loss_db", [6, 20])
def test_the_tutor_alone_is_not_heard(tutor: Signal, delay_ms: int, loss_db: float) -> None:
    heard = echo_of(tutor, delay_ms=delay_ms, loss_db=loss_db)
    heard += np.random.default_rng(5).normal(0, 1e-4, len(heard))
    cleaned = through(canceller(), tutor, heard)
    assert level(heard, 4, 12) - level(cleaned, 4, 12) >= 25


def test_the_learner_is_heard_over_the_tutor(tutor: Signal) -> None:
    echo = echo_of(tutor, delay_ms=80, loss_db=12)
    learner = np.zeros_like(echo)
    speech = voice("013360146", -26, NEAR_HZ)[: 3 * NEAR_HZ]
    learner[8 * NEAR_HZ : 8 * NEAR_HZ + len(speech)] = speech
    end_s = 8 + len(speech) / NEAR_HZ
    cleaned = through(canceller(), tutor, echo + learner)
    assert level(cleaned, 8, end_s) == pytest.approx(level(learner, 8, end_s), abs=3)


def test_the_learner_alone_stays_as_he_is() -> None:
    speech = voice("013360146", -26, NEAR_HZ)[: 3 * NEAR_HZ]
    cleaned = through(canceller(), np.zeros(3 * FAR_HZ), speech)
    assert level(cleaned, 0, 3) == pytest.approx(level(speech, 0, 3), abs=1)


def test_readings_that_come_in_a_burst_lose_nothing(tutor: Signal) -> None:
    """A busy machine reads 100 ms at once; the echo must still be found."""
    heard = echo_of(tutor, delay_ms=80, loss_db=12)
    bursts = {period: 1 for period in range(600) if period % 50 in (10, 11, 12, 13)}
    cleaned = through(canceller(), tutor, heard, late=bursts)
    assert level(heard, 5, 11) - level(cleaned, 5, 11) >= 25


def test_what_a_microphone_lost_does_not_put_the_reference_behind_its_echo(tutor: Signal) -> None:
    heard = echo_of(tutor, delay_ms=80, loss_db=12)
    lost = slice(3 * NEAR_HZ, 3 * NEAR_HZ + NEAR_HZ // 5)
    cards = canceller()
    begin = through(cards, tutor[: 3 * FAR_HZ], heard[: 3 * NEAR_HZ])
    for period in range(10):
        at = 3 * FAR_HZ + period * 480
        cards.played(int16(tutor[at : at + 480]))
    rest = through(cards, tutor[3 * FAR_HZ + 4800 :], heard[lost.stop :])
    cleaned = np.concatenate([begin, rest])
    whole = np.concatenate([heard[: lost.start], heard[lost.stop :]])
    assert level(whole, 7, 11) - level(cleaned, 7, 11) >= 25


def test_readings_of_any_length_come_back_whole() -> None:
    cards = canceller()
    sizes = [7, 313, 1, 160, 479, 320]
    returned = [len(cards.clean(np.zeros(size, dtype=np.int16))) for size in sizes]
    assert all(count % 160 == 0 for count in returned)
    assert sum(returned) + cards.waiting_samples == sum(sizes)
    assert cards.waiting_samples < 160


def test_a_microphone_that_hangs_fills_no_memory() -> None:
    cards = canceller()
    for _ in range(10_000):
        cards.played(np.zeros(480, dtype=np.int16))
    assert sum(len(samples) for samples in cards._given) <= 2 * FAR_HZ


def test_the_two_threads_of_a_sound_card_may_meet() -> None:
    cards = canceller()
    failed: list[Any] = []

    def play() -> None:
        try:
            for _ in range(500):
                cards.played(np.zeros(480, dtype=np.int16))
        except Exception as error:  # noqa: BLE001  whatever it is, the test tells
            failed.append(error)

    thread = threading.Thread(target=play)
    thread.start()
    total = sum(len(cards.clean(np.zeros(320, dtype=np.int16))) for _ in range(500))
    thread.join()
    assert total == 500 * 320
    assert not failed
