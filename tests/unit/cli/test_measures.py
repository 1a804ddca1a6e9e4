"""What is measured of a talk: ends of speech, beginnings of sound, silences and their parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley_cli.audio.files import Recording, Samples, read_recording
from parley_cli.audio.speech_end import first_sounding_sample, holds_speech, speech_end_sample
from parley_cli.session import Floor, SessionView, TurnView
from parley_cli.stages import StageView
from parley_cli.talk.measure import SilenceMeter
from parley_cli.talk.script import LEAD_IN_MS, RecordingScript, answered

RATE = 16_000
SPEECH = Path(__file__).parents[2] / "data" / "speech"


def tone(duration_ms: int, level: float = 0.25) -> Samples:
    index = np.arange(duration_ms * RATE // 1000)
    return (32767 * level * np.sin(2 * np.pi * 300 * index / RATE)).astype(np.int16)


def noise(duration_ms: int, level: float = 0.001) -> Samples:
    samples = np.random.default_rng(7).normal(0, level, duration_ms * RATE // 1000)
    return (32767 * samples).astype(np.int16)


def silence(duration_ms: int) -> Samples:
    return np.zeros(duration_ms * RATE // 1000, dtype=np.int16)


# -- the end of speech ----------------------------------------------------------------------------


@pytest.mark.parametrize("after", [silence(500), noise(500), noise(500, 0.003)])
def test_speech_ends_where_its_energy_ends(after: Samples) -> None:
    samples = np.concatenate([noise(300), tone(700), after])
    assert speech_end_sample(samples, RATE) == pytest.approx(1000 * RATE // 1000, abs=RATE // 100)


def test_a_click_after_speech_is_no_speech() -> None:
    click = np.concatenate([noise(300), tone(15), noise(300)])
    samples = np.concatenate([noise(200), tone(500), click])
    assert speech_end_sample(samples, RATE) == pytest.approx(700 * RATE // 1000, abs=RATE // 100)


def test_a_pause_inside_speech_ends_nothing() -> None:
    samples = np.concatenate([tone(400), noise(600), tone(400), noise(400)])
    assert speech_end_sample(samples, RATE) == pytest.approx(1400 * RATE // 1000, abs=RATE // 100)


@pytest.mark.parametrize("samples", [silence(1000), silence(5), silence(0)])
def test_silence_holds_no_speech(samples: Samples) -> None:
    assert speech_end_sample(samples, RATE) is None


@pytest.mark.parametrize(
    "samples",
    [
        silence(60_000),
        noise(60_000, 0.0002),  # -74 dBFS: the noise of a sound card
        noise(60_000, 0.005),  # -46 dBFS: a microphone turned up in an empty room
        np.concatenate([noise(2000, 0.001), tone(20), noise(2000, 0.001)]),  # a click
        silence(0),
    ],
)
def test_silence_and_faint_steady_noise_are_told_from_speech(samples: Samples) -> None:
    assert not holds_speech(samples, RATE)


@pytest.mark.parametrize("path", sorted(SPEECH.glob("*.wav")), ids=lambda path: path.stem)
@pytest.mark.parametrize("level_dbfs", [-50.0, -30.0])
def test_quiet_speech_is_speech_even_under_noise(path: Path, level_dbfs: float) -> None:
    speech = read_recording(path, RATE).samples / 32768.0
    speech *= 10 ** (level_dbfs / 20) / np.sqrt(np.mean(speech**2))
    for noise_level in (0.0, 10 ** ((level_dbfs - 5) / 20)):
        heard = speech + np.random.default_rng(3).normal(0, noise_level, len(speech))
        samples = np.clip(heard * 32768, -32768, 32767).astype(np.int16)
        assert holds_speech(samples, RATE)
        assert holds_speech(np.concatenate([silence(120_000), samples]), RATE)


def test_sound_begins_at_the_first_audible_sample() -> None:
    assert first_sounding_sample(np.concatenate([noise(50), tone(50)])) in range(800, 820)
    assert first_sounding_sample(noise(100)) is None


# -- the silence before a reply -------------------------------------------------------------------


def meter_with_speech(end_ms: int = 1000) -> SilenceMeter:
    """One whose time line began at 10 s and whose waveform's speech ended at `end_ms`."""
    meter = SilenceMeter(RATE)
    meter.captured(320, 10.020)
    meter.speech_ends_at(end_ms * RATE // 1000)
    return meter


def test_voice_to_voice_runs_from_the_waveforms_end_to_the_first_audible_sample() -> None:
    meter = meter_with_speech()
    meter.server_end(1030)
    meter.reply_started(1, 1, at=11.3)
    meter.reply_audio(1, silence(40), RATE, at=11.4)
    meter.reply_audio(1, np.concatenate([silence(10), tone(30)]), RATE, at=11.5)
    measured = meter.measured(1, (), None)
    assert measured is not None
    assert measured.voice_to_voice_ms == pytest.approx(500)
    assert measured.lead_in_ms == pytest.approx(50, abs=1)
    assert (measured.speech_end_source, measured.server_speech_end_ms) == ("waveform", 1030)


def test_a_frame_delivered_late_does_not_shift_the_time_line() -> None:
    meter = meter_with_speech()
    meter.captured(640, 10.9)
    meter.reply_started(1, 1, at=11.3)
    meter.reply_audio(1, tone(40), RATE, at=11.4)
    assert meter.silence_ms(1) == pytest.approx(400, abs=1)


def test_a_reply_to_the_first_half_of_a_cut_utterance_is_not_negative() -> None:
    meter = meter_with_speech(end_ms=3000)
    meter.server_end(1000)
    meter.reply_started(1, 1, at=11.5)
    meter.reply_audio(1, tone(40), RATE, at=11.6)
    measured = meter.measured(1, (), None)
    assert measured is not None
    assert (measured.speech_end_source, measured.voice_to_voice_ms) == (
        "server",
        pytest.approx(600),
    )


def test_a_reply_to_half_of_the_second_recording_is_not_counted_from_the_first() -> None:
    meter = meter_with_speech(end_ms=1000)
    meter.speech_ends_at(9000 * RATE // 1000)
    meter.server_end(6000)
    meter.reply_started(2, 2, at=16.4)
    meter.reply_audio(2, tone(40), RATE, at=16.5)
    assert meter.silence_ms(2) == pytest.approx(500)


def test_an_answer_to_words_before_the_last_ones_does_not_look_quick() -> None:
    """The turn was committed before the last words, and its reply came just after them."""
    meter = meter_with_speech(end_ms=1000)
    meter.server_end(500)
    meter.reply_started(1, 1, at=11.05)
    meter.reply_audio(1, tone(40), RATE, at=11.1)
    measured = meter.measured(1, (), None)
    assert measured is not None
    assert (measured.speech_end_source, measured.voice_to_voice_ms) == (
        "server",
        pytest.approx(600),
    )


def test_the_end_of_another_recording_says_nothing_about_this_one() -> None:
    meter = meter_with_speech(end_ms=1000)
    meter.server_end(1000)
    meter.speech_ends_at(9000 * RATE // 1000)
    meter.reply_started(2, 2, at=19.4)
    meter.reply_audio(2, tone(40), RATE, at=19.5)
    measured = meter.measured(2, (), None)
    assert measured is not None
    assert (measured.speech_end_source, measured.silence_ms) == ("waveform", pytest.approx(500))


def test_nobody_waited_for_a_hint() -> None:
    meter = meter_with_speech()
    meter.reply_started(1, 1, at=14.0, answers=False)
    meter.reply_audio(1, tone(40), RATE, at=14.1)
    assert meter.silence_ms(1) is None


def test_a_typed_utterance_ends_when_it_is_sent() -> None:
    meter = SilenceMeter(RATE)
    meter.typed(20.0)
    meter.reply_started(1, 1, at=20.1)
    meter.reply_text(1, at=20.25)
    assert meter.silence_ms(1) == pytest.approx(250)


def test_the_first_stage_is_counted_from_the_true_end_of_speech() -> None:
    meter = meter_with_speech(end_ms=1000)
    meter.server_end(970)
    meter.reply_started(1, 1, at=11.25)
    meter.reply_audio(1, tone(40), RATE, at=11.25)
    measured = meter.measured(1, (StageView("endpoint", 280.0),), None)
    assert measured is not None
    stages = {stage.name: stage.duration_ms for stage in measured.stages}
    assert stages["endpoint"] == pytest.approx(250)
    assert stages["unaccounted"] == pytest.approx(0, abs=1)


def test_nothing_known_is_told_as_unknown() -> None:
    meter = SilenceMeter(RATE)
    meter.reply_started(1, 1, at=1.0)
    measured = meter.measured(1, (StageView("endpoint", 5.0),), 1.0)
    assert measured is not None
    assert (measured.silence_ms, measured.speech_end_source) == (None, "unknown")
    assert meter.measured(9, (), None) is None


@settings(deadline=None)
@given(
    parts=st.lists(st.floats(0, 500), min_size=1, max_size=5),
    heard_after=st.floats(0.1, 3),
    played_after=st.floats(0, 0.2),
    round_trip=st.one_of(st.none(), st.floats(0, 100)),
)
def test_the_stages_add_up_to_the_silence(
    parts: list[float], heard_after: float, played_after: float, round_trip: float | None
) -> None:
    meter = meter_with_speech()
    meter.reply_started(1, 1, at=11.0)
    meter.reply_audio(1, tone(40), RATE, at=11.0 + heard_after)
    meter.reply_played(1, at=11.0 + heard_after + played_after)
    stages = (*(StageView("endpoint", part) for part in parts), StageView("unaccounted", 99.0))
    measured = meter.measured(1, stages, round_trip)
    assert measured is not None
    assert measured.silence_ms is not None
    total = sum(stage.duration_ms for stage in measured.stages)
    assert total == pytest.approx(measured.silence_ms, abs=1e-6)
    assert [s.name for s in measured.stages].count("unaccounted") == 1


def test_the_network_is_counted_both_ways() -> None:
    """The server counts from when the end of speech arrived there; a half was unaccounted for."""
    meter = meter_with_speech()
    meter.reply_started(1, 1, at=11.3)
    meter.reply_audio(1, tone(40), RATE, at=11.5)
    measured = meter.measured(1, (StageView("endpoint", 420.0),), 80.0)
    assert measured is not None
    stages = {stage.name: stage.duration_ms for stage in measured.stages}
    assert stages["received"] == 80.0
    assert stages["unaccounted"] == pytest.approx(0, abs=0.01)


# -- when a recording has been answered -----------------------------------------------------------


def turn(number: int, **fields: Any) -> TurnView:
    return TurnView(number, **fields)


ANSWERED = turn(1, utterance="a", generation=1, kind="answer", end="completed")


@pytest.mark.parametrize(
    ("turns", "floor", "drained", "expected"),
    [
        ((), Floor.LISTENING, True, False),
        ((ANSWERED,), Floor.LISTENING, True, True),
        ((ANSWERED,), Floor.LISTENING, False, False),
        ((ANSWERED,), Floor.LEARNER, True, False),
        ((turn(1, utterance="a", generation=1, kind="answer"),), Floor.TUTOR, True, False),
        ((ANSWERED, turn(2, utterance="b")), Floor.LISTENING, True, False),
        (
            (turn(1, utterance="a", generation=1, kind="answer", end="interrupted"),),
            Floor.LISTENING,
            True,
            False,
        ),
        ((turn(1, generation=1, kind="hint", end="completed"),), Floor.LISTENING, True, False),
        (
            (turn(1, utterance="a", generation=1, kind="answer", end="failed"),),
            Floor.LISTENING,
            True,
            True,
        ),
    ],
)
def test_when_an_utterance_has_been_answered(
    turns: tuple[TurnView, ...], floor: Floor, drained: bool, expected: bool
) -> None:
    view = SessionView(floor=floor, turns=turns)
    assert answered(view, frozenset(), drained=drained) is expected


def test_an_earlier_answer_does_not_answer_the_next_recording() -> None:
    view = SessionView(floor=Floor.LISTENING, turns=(ANSWERED,))
    assert not answered(view, frozenset({1}), drained=True)


# -- the script -----------------------------------------------------------------------------------


def recording(samples: Samples) -> Recording:
    return Recording(
        path=Path("one.wav"),
        samples=samples,
        sample_rate_hz=RATE,
        source_rate_hz=RATE,
        source_channels=1,
    )


def test_the_script_speaks_each_recording_once_in_order_and_silence_between() -> None:
    script = RecordingScript([recording(tone(100)), recording(tone(50))], RATE)
    assert not script.next_frame(320).any()
    first = script.speak_next()
    assert first is not None
    assert first.start == LEAD_IN_MS * RATE // 1000, "the lead-in counts what was sent already"
    heard = [script.next_frame(320) for _ in range(40)]
    line = np.concatenate([silence(20), *heard])
    assert np.array_equal(line[first.start : first.end], tone(100))
    assert not line[first.end :].any()
    second = script.speak_next()
    assert second is not None
    assert second.start == script.position
    assert script.speak_next() is None


@settings(deadline=None, max_examples=50)
@given(frame=st.integers(160, 2000), lengths=st.lists(st.integers(1600, 5000), max_size=3))
def test_no_sample_of_a_recording_is_lost_whatever_the_frame(
    frame: int, lengths: list[int]
) -> None:
    recordings = [recording(np.arange(1, n + 1, dtype=np.int16)) for n in lengths]
    script = RecordingScript(recordings, RATE)
    line: list[Samples] = []
    while (spoken := script.speak_next()) is not None:
        while script.position < spoken.end:
            line.append(script.next_frame(frame))
    whole = np.concatenate([*line, silence(0)])
    for spoken, one in zip(script.spoken, recordings, strict=True):
        assert np.array_equal(whole[spoken.start : spoken.end], one.samples)
