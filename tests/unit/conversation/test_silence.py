"""A learner who says nothing: the session waits, and the tutor does not talk to itself."""

from parley.ai.v1 import ai_pb2
from parley.types.v1 import turn_pb2
from services.conversation.floor import State
from tests.unit.conversation.driving import Drive


def test_ten_minutes_of_silence_make_one_hint_and_no_turn_of_the_learner() -> None:
    drive = Drive(idle_s=300, session_s=7200)
    hints = 0
    for second in range(600):
        drive.advance(1.0)
        drive.session.note_audio(second * 1000, drive.now)
        # An engine says so for each nine seconds of silence; this one never tires of it.
        if second % 9 == 8:
            drive.engine(long_silence={"silence_ms": 9000})
        asked = len(drive.told_engine("request_reply"))
        if asked > hints:
            hints = asked
            drive.commit("", turn_pb2.UTTERANCE_SOURCE_NONE)
            drive.speak("Shall I ask you something")
    assert hints == 1
    assert [turn.source for turn in drive.saved] == [turn_pb2.UTTERANCE_SOURCE_NONE]
    assert drive.session.state is State.LISTENING
    assert drive.told == []


def test_silence_that_comes_at_once_when_a_cut_line_is_back_is_not_helped_but_counted_anew() -> (
    None
):
    """A learner whose connection was gone for ten seconds got a hint as soon as it was back."""
    drive = Drive()
    drive.session.note_audio(1000, drive.now)
    drive.advance(10.0)
    # What was recorded meanwhile.
    for ms in range(1000, 11_000, 200):
        drive.session.note_audio(ms, drive.now)
    drive.engine(long_silence={"silence_ms": 9000})
    assert drive.told_engine("request_reply") == []
    assert [said.floor for said in drive.told_engine("floor")] == [ai_pb2.FLOOR_LEARNER]
    for ms in range(11_000, 20_000, 1000):
        drive.advance(1.0)
        drive.session.note_audio(ms, drive.now)
    drive.engine(long_silence={"silence_ms": 9000})
    assert len(drive.told_engine("request_reply")) == 1
