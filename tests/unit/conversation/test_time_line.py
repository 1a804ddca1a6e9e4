"""Where the learner's audio stands, and what of it is settled."""

from services.conversation.listening import Listening
from services.conversation.time_line import TimeLine


def test_the_arrival_of_a_place_is_known_from_the_last_frames():
    line = TimeLine(0, 100.0)
    line.came(2_000, 105.0)
    assert line.arrival(1_200, 105.5) == 104.2
    # Not in the future, however far a report lies ahead.
    assert line.arrival(9_000, 105.5) == 105.5


def test_the_last_moments_are_never_settled():
    line = TimeLine(0, 100.0)
    line.came(10_000, 110.0)
    assert line.settle(4_000, Listening()) == 9_500


def test_an_utterance_under_way_is_not_settled_but_its_turns_own_is():
    line, listening = TimeLine(0, 100.0), Listening()
    line.came(10_000, 110.0)
    listening.began(107.0, 7_000, over_reply=True)
    assert line.settle(4_000, listening) == 7_000
    listening.stopped(9_000)
    assert line.settle(4_000, listening) == 7_000
    assert line.settle(7_500, listening) == 7_500


def test_what_is_settled_only_grows():
    line = TimeLine(60_000, 100.0)
    assert line.settle(100, Listening()) == 60_000
