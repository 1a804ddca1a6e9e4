"""Audio on its way to the engine: all of it, in order, and nothing urgent held back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.conversation.engine_audio import FEW_SESSIONS, Crowd, EngineAudio

RATE_HZ = 16_000


def quiet(milliseconds: int = 20) -> bytes:
    return bytes(2 * RATE_HZ * milliseconds // 1000)


def loud(milliseconds: int = 20) -> bytes:
    return np.full(RATE_HZ * milliseconds // 1000, 8_000, "<i2").tobytes()


def crowded() -> EngineAudio:
    return EngineAudio(Crowd(FEW_SESSIONS + 1))


def over_a_reply() -> EngineAudio:
    audio = crowded()
    audio.floor(tutor=True)
    return audio


def lengths_ms(audio: EngineAudio, pieces: list[bytes]) -> list[list[int]]:
    """Return, for each piece, how long the messages are that it made ready."""
    return [[len(each) // 32 for each in audio.add(piece)] for piece in pieces]


def test_where_few_talk_every_piece_goes_at_once():
    audio = EngineAudio(Crowd(FEW_SESSIONS))
    assert lengths_ms(audio, [quiet(), loud(), quiet()]) == [[20], [20], [20]]
    assert audio.take() == b""


def test_what_was_held_when_the_others_left_goes_with_the_next_piece():
    crowd = Crowd(FEW_SESSIONS + 1)
    audio = EngineAudio(crowd)
    audio.floor(tutor=True)
    assert audio.add(loud()) == ()
    crowd.sessions = 1
    assert lengths_ms(audio, [loud(), loud()]) == [[40], [20]]


def test_in_a_crowd_two_frames_of_the_first_words_over_a_reply_go_together():
    assert lengths_ms(over_a_reply(), [loud()] * 4) == [[], [40], [], [40]]


def test_first_words_that_stop_nobody_are_in_no_hurry():
    audio = crowded()
    lengths_ms(audio, [quiet()] * 51)
    audio.take()
    assert lengths_ms(audio, [loud()] * 7) == [[20], [], [], [], [], [], [120]]


def test_words_are_in_a_hurry_from_the_begin_of_a_reply_to_its_end():
    audio = crowded()
    audio.floor(tutor=True)
    audio.floor(tutor=False)
    assert lengths_ms(audio, [loud()] * 6) == [[], [], [], [], [], [120]]
    audio.floor(tutor=True)
    assert lengths_ms(audio, [loud()] * 2) == [[], [40]]


def test_a_long_silence_goes_in_longer_messages():
    audio = crowded()
    lengths_ms(audio, [quiet()] * 50)
    assert lengths_ms(audio, [quiet()] * 6) == [[], [], [], [], [], [120]]


def test_whoever_begins_to_speak_after_silence_is_heard_at_once():
    audio = crowded()
    lengths_ms(audio, [quiet()] * 51)
    audio.floor(tutor=True)
    assert lengths_ms(audio, [loud(), loud(), loud()]) == [[40], [], [40]]


def test_the_middle_of_an_utterance_goes_in_longer_messages_and_its_pause_at_once():
    audio = crowded()
    lengths_ms(audio, [quiet()] * 50 + [loud()] * 21)
    audio.take()
    assert lengths_ms(audio, [loud()] * 7) == [[], [], [], [], [], [120], []]
    # A turn may be over: from here on nothing is waited for.
    assert lengths_ms(audio, [quiet()] * 3) == [[40], [20], [20]]


def test_between_words_a_frame_is_the_most_that_is_waited_for():
    audio = crowded()
    lengths_ms(audio, [quiet()] * 50 + [loud()] * 2)
    sizes = lengths_ms(audio, [quiet(), loud()] * 10)
    assert max(size for each in sizes for size in each) == 40


def test_a_fan_is_a_room_in_which_speech_is_heard_at_once():
    audio = crowded()
    fan = np.full(320, 1_000, "<i2").tobytes()
    lengths_ms(audio, [fan] * 1_000)
    audio.take()
    assert lengths_ms(audio, [fan, fan, loud()]) == [[], [], [60]]


def test_a_soft_voice_in_a_quiet_room_is_heard_at_once():
    audio = crowded()
    lengths_ms(audio, [quiet()] * 60)
    audio.take()
    soft = np.full(320, 400, "<i2").tobytes()
    assert lengths_ms(audio, [quiet(), soft]) == [[], [40]]


def test_once_the_turn_is_decided_on_a_pause_is_silence():
    audio = crowded()
    lengths_ms(audio, [loud()] * 25 + [quiet()] * 11)
    audio.take()
    audio.decided()
    audio.floor(tutor=True)
    assert lengths_ms(audio, [quiet()] * 6) == [[], [], [], [], [], [120]]


def test_silence_waits_longest_where_nothing_is_to_be_decided_and_nobody_to_be_stopped():
    audio = crowded()
    lengths_ms(audio, [loud()] * 25 + [quiet()] * 11)
    audio.take()
    audio.decided()
    assert lengths_ms(audio, [quiet()] * 10) == [[]] * 9 + [[200]]
    # From the next words on there is something to be decided again.
    lengths_ms(audio, [loud()] + [quiet()] * 60)
    audio.take()
    assert lengths_ms(audio, [quiet()] * 6) == [[], [], [], [], [], [120]]


def test_a_decision_while_the_learner_goes_on_speaking_changes_nothing():
    audio = over_a_reply()
    lengths_ms(audio, [loud()] * 2)
    audio.decided()
    assert lengths_ms(audio, [loud(), loud()]) == [[], [40]]


def test_what_follows_a_message_of_another_kind_is_not_held_before_it():
    audio = crowded()
    audio.add(loud())
    assert audio.take() == loud()
    assert audio.take() == b""


def test_long_pieces_are_never_joined_beyond_what_an_engine_takes():
    audio = crowded()
    audio.add(loud(20))
    assert lengths_ms(audio, [loud(200)]) == [[20, 200]]


PIECES = st.lists(
    st.tuples(
        st.booleans(), st.sampled_from([1, 20, 40, 60, 100, 200]), st.booleans(), st.booleans()
    ),
    max_size=80,
)


@given(st.integers(0, 2 * FEW_SESSIONS), PIECES)
def test_every_sample_arrives_in_order_and_waits_for_120_ms_at_most_200_when_idle(sessions, pieces):
    audio = EngineAudio(Crowd(sessions))
    came, went = bytearray(), bytearray()
    over_reply = False
    for is_loud, milliseconds, is_posted, is_decided in pieces:
        piece = (loud if is_loud else quiet)(milliseconds)
        came += piece
        for message in audio.add(piece):
            assert 0 < len(message) <= 200 * 32
            went += message
        if is_posted:
            went += audio.take()
            over_reply = not over_reply
            audio.floor(tutor=over_reply)
        if is_decided:
            audio.decided()
        assert len(came) - len(went) < (120 if over_reply or is_loud else 200) * 32
    assert came == went + audio.take()
