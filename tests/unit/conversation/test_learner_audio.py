"""The learner's samples find their place."""

import numpy as np
import pytest

from parley.types.v1 import audio_pb2
from services.common.errors import InvalidArgument
from services.common.limits import DEFAULT_LIMITS
from services.conversation.learner_audio import LearnerAudio, input_format


def frame(value: int = 1, samples: int = 320) -> bytes:
    return value.to_bytes(2, "little") * samples


def test_frames_in_order_pass_unchanged():
    audio = LearnerAudio(16_000, 200)
    taken = [audio.take(frame(index + 1), index * 320) for index in range(5)]
    assert b"".join(b"".join(each.for_engine) for each in taken) == b"".join(
        frame(index + 1) for index in range(5)
    )
    assert audio.end_ms == 100


def test_positions_may_be_left_out():
    audio = LearnerAudio(16_000, 200)
    for _ in range(3):
        audio.take(frame(), 0)
    assert audio.next_sample == 960


def test_a_place_may_lie_as_far_ahead_as_the_longest_session_and_no_farther():
    longest = int(16_000 * DEFAULT_LIMITS.conversation_max_seconds)
    assert LearnerAudio(16_000, 200).take(frame(), longest).first_sample == longest
    with pytest.raises(InvalidArgument) as caught:
        LearnerAudio(16_000, 200).take(frame(), longest + 1)
    assert caught.value.reason == "AUDIO_FRAME_INVALID"


def test_what_was_received_is_skipped_and_a_gap_is_silence():
    audio = LearnerAudio(16_000, 200)
    audio.take(frame(1), 0)
    again = audio.take(frame(2), 160)
    assert again.pcm == frame(2, 160)
    assert audio.take(frame(3), 16).pcm == b""
    after = audio.take(frame(4), 640)
    assert b"".join(after.for_engine) == bytes(320) + frame(4)
    assert after.first_sample == 640


def test_long_gaps_are_cut_short_for_the_engine_and_its_times_still_fit():
    audio = LearnerAudio(16_000, 200)
    audio.take(frame(), 0)
    minute = 60 * 16_000
    taken = audio.take(frame(), minute)
    heard = sum(map(len, taken.for_engine)) // 2
    assert heard == 2 * 16_000 + 320
    assert max(map(len, taken.for_engine)) <= 6_400
    assert audio.session_ms(10) == 10
    engine_ms = (audio.engine_position - 320) // 16
    assert audio.session_ms(engine_ms) == 60_000


@pytest.mark.parametrize(
    ("pcm", "first_sample"), [(bytes(3), 0), (bytes(6_402), 0), (bytes(640), 2**40)]
)
def test_what_cannot_be_used_is_refused_and_changes_nothing(pcm: bytes, first_sample: int):
    audio = LearnerAudio(16_000, 200)
    with pytest.raises(InvalidArgument) as caught:
        audio.take(pcm, first_sample)
    assert caught.value.reason == "AUDIO_FRAME_INVALID"
    assert audio.next_sample == 0


def test_a_tone_survives_resampling():
    audio = LearnerAudio(48_000, 200)
    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype("<i2")
    pieces = [audio.take(part.tobytes(), 0).for_engine for part in np.split(tone, 50)]
    heard = np.frombuffer(b"".join(b"".join(each) for each in pieces), "<i2")
    spectrum = np.abs(np.fft.rfft(heard[2_000:14_000]))
    assert round(np.argmax(spectrum) * 16_000 / 12_000) == 440


def test_kept_audio_begins_where_a_new_engine_needs_it():
    audio = LearnerAudio(16_000, 200)
    for index in range(100):
        audio.take(frame(index + 1), index * 320)
        audio.trim_kept(speaking=False)
    assert audio.engine_position - audio.kept_from in range(16_000, 16_640)
    kept = b"".join(audio.kept_since(audio.engine_position - 320))
    assert kept == frame(100)


@pytest.mark.parametrize("rate", [0, 8_000, 44_100, 48_000])
def test_formats_of_live_audio(rate: int):
    wanted = audio_pb2.AudioFormat(sample_rate_hz=rate)
    assert input_format(wanted).sample_rate_hz == (rate or 16_000)


def test_in_a_session_that_goes_on_what_was_not_settled_is_heard_again():
    audio = LearnerAudio(16_000, 200, 32_000, unplaced_sample=160_000)
    assert audio.next_sample == 32_000
    assert audio.take(frame(2), 31_840).pcm == frame(2, 160)
    assert audio.take(frame(3), 0).first_sample == 32_160


def test_in_a_session_that_goes_on_a_client_without_positions_goes_on_now():
    audio = LearnerAudio(16_000, 200, 32_000, unplaced_sample=160_000)
    assert audio.take(frame(1), 0).first_sample == 160_000
    assert audio.take(frame(2), 0).first_sample == 160_320


def test_in_a_session_of_which_nothing_is_settled_the_first_sample_is_wanted():
    audio = LearnerAudio(16_000, 200, 0, unplaced_sample=160_000)
    assert audio.take(frame(1), 0).first_sample == 0
    assert audio.take(frame(2), 320).first_sample == 320


def test_silence_that_was_heard_for_a_gap_is_not_heard_again():
    audio = LearnerAudio(16_000, 200)
    audio.take(frame(1), 0)
    lent = b"".join(audio.silence(1_000))
    assert lent == bytes(2 * 16_000)
    assert audio.next_sample == 320, "where the client goes on, the client says"
    taken = audio.take(frame(2), 320 + 16_000 + 160)
    assert b"".join(taken.for_engine) == bytes(2 * 160) + frame(2)
    assert taken.first_sample == 320 + 16_000 + 160
    assert audio.session_ms(audio.engine_position // 16) == audio.end_ms


@pytest.mark.parametrize("first_sample", [0, 320, 320 + 8_000])
def test_after_more_silence_than_there_was_a_gap_nothing_is_lost_and_times_still_fit(
    first_sample: int,
):
    """A client that counts only what it sends goes on where it was."""
    audio = LearnerAudio(16_000, 200)
    audio.take(frame(1), 0)
    audio.silence(1_000)
    taken = audio.take(frame(2), first_sample)
    assert taken.pcm == frame(2)
    assert b"".join(taken.for_engine) == frame(2)
    assert taken.first_sample == max(320, first_sample)
    engine_ms = (audio.engine_position - 320) // 16
    assert audio.session_ms(engine_ms) == taken.first_sample // 16
    assert audio.session_ms(10) == 10
    again = audio.take(frame(3), 160)
    assert again.pcm == b"", "what was received is skipped as before"


def test_silence_at_another_rate_is_as_long():
    audio = LearnerAudio(48_000, 200)
    heard = sum(len(piece) for _ in range(20) for piece in audio.silence(100)) // 2
    assert heard == pytest.approx(32_000, abs=200)


def test_a_place_of_the_session_is_found_on_the_engines_time_line_across_gaps():
    audio = LearnerAudio(16_000, 1_000)
    audio.take(bytes(32_000), 0)
    # Ten seconds later: the engine hears two of the nine between.
    audio.take(bytes(32_000), 10 * 16_000)
    for ms, place in ((0, 0), (500, 8_000), (1_000, 16_000), (2_500, 40_000), (10_500, 56_000)):
        assert audio.engine_place(ms) == place
    assert audio.engine_place(7_000) == 48_000, "left out: where the rest begins"
    for sample in (0, 5_000, 16_000, 50_000, 60_000):
        assert audio.engine_place(audio.session_ms(sample // 16)) == sample // 16 * 16
