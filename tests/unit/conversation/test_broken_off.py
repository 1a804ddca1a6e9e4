"""A reply whose process died is closed where it was heard, and not said again."""

import pytest

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import turn_pb2
from services.conversation import events
from services.conversation.broken_off import close
from tests.unit.conversation.driving import WORD_MS, Drive

COMPLETED = turn_pb2.REPLY_END_REASON_COMPLETED
FAILED = turn_pb2.REPLY_END_REASON_FAILED
REPLY = "one two three four five six seven eight"


def under_way(*, end: bool = True) -> tuple[Drive, events.KeepTurn]:
    """Return a session in the middle of a reply, and what it let be kept."""
    drive = Drive()
    drive.client(text={"text": "I like tea"})
    drive.commit("I like tea", turn_pb2.UTTERANCE_SOURCE_TEXT)
    drive.speak(REPLY, end=end)
    drive.advance(2.0)
    kept = [each for each in drive.effects if isinstance(each, events.KeepTurn)]
    return drive, kept[-1]


def goes_on(kept: events.KeepTurn, heard_ms: int) -> Drive:
    """Return the session in another process."""
    cut_off = close(kept, kept.turn.generation, heard_ms)
    drive = Drive(
        next_turn=2 if cut_off else 1,
        last_generation=kept.turn.generation + 1_000,
        accounted_seq=cut_off.accounted_seq if cut_off else 0,
        broken_off=cut_off,
    )
    drive.give(events.Opened())
    return drive


@pytest.mark.parametrize("end", [True, False])
def test_the_turn_under_way_is_kept_as_far_as_it_is_made(end: bool):
    drive, kept = under_way(end=end)
    assert kept.turn.reply_text == REPLY
    assert kept.turn.utterance.clean == "I like tea"
    assert kept.turn.number == 1
    assert kept.turn.reply_end_reason == (COMPLETED if end else FAILED)
    assert not drive.saves


def test_a_reply_that_comes_at_once_is_kept_once_or_twice():
    drive, _ = under_way()
    kept = [each for each in drive.effects if isinstance(each, events.KeepTurn)]
    assert 1 <= len(kept) <= 2


def test_of_a_reply_that_is_made_while_it_is_said_what_was_heard_is_kept():
    """It was kept once a second only: of what was heard in between nobody knew the words."""
    drive = Drive()
    generation = drive.commit("I like tea")
    for index in range(20):
        audio = {"pcm": bytes(24_000 // 10 * 2), "offset_ms": index * 100}
        drive.engine(generation, reply_audio=audio)
        drive.client(heard={"generation": generation, "audio_ms": index * 100})
        drive.advance(0.1)
    kept = [each for each in drive.effects if isinstance(each, events.KeepTurn)]
    assert 4 <= len(kept) <= 6
    assert kept[-1].turn.reply_ms >= 1_500


def test_what_was_heard_is_closed_there_and_stored():
    _, kept = under_way()
    drive = goes_on(kept, 2 * WORD_MS + 10)
    (ended,) = drive.sent("reply_ended")
    assert (ended.reason, ended.heard_text) == (FAILED, "one two")
    (saved,) = drive.saved
    assert (saved.turn_id, saved.number) == (kept.turn.turn_id, 1)
    assert (saved.heard_text, saved.heard_ms) == ("one two", 2 * WORD_MS + 10)
    assert drive.session.summary(drive.now).turns == 1


def test_the_wait_before_a_reply_that_broke_off_counts() -> None:
    """The median was made of the other waits alone, and was 0 where there were none."""
    drive = Drive()
    drive.client(text={"text": "I like tea"})
    drive.advance(0.7)
    drive.commit("I like tea", turn_pb2.UTTERANCE_SOURCE_TEXT)
    drive.speak(REPLY)
    drive.advance(2.0)
    kept = [each for each in drive.effects if isinstance(each, events.KeepTurn)][-1]
    after = goes_on(kept, 2 * WORD_MS)
    assert after.session.summary(after.now).median_silence_ms == 700


def test_what_was_heard_to_its_end_is_completed():
    _, kept = under_way()
    (saved,) = goes_on(kept, 8 * WORD_MS - 40).saved
    assert (saved.reply_end_reason, saved.heard_text) == (COMPLETED, REPLY)
    assert saved.heard_ms == 8 * WORD_MS


def test_what_nobody_heard_is_answered_anew():
    _, kept = under_way()
    drive = goes_on(kept, 0)
    assert drive.session.turn_number == 1
    assert not drive.effects


def test_a_report_of_another_reply_closes_nothing():
    _, kept = under_way()
    assert close(kept, kept.turn.generation + 1, 500) is None


def test_a_report_of_more_than_was_made_is_cut():
    _, kept = under_way(end=False)
    (saved,) = goes_on(kept, 60_000).saved
    assert (saved.reply_end_reason, saved.heard_ms) == (FAILED, saved.reply_ms)
    assert saved.heard_text == REPLY


def test_captions_are_not_kept():
    drive = Drive(captions_only=True)
    drive.client(text={"text": "I like tea"})
    drive.commit("I like tea", turn_pb2.UTTERANCE_SOURCE_TEXT)
    drive.speak(REPLY, end=False)
    drive.advance(2.0)
    assert not [each for each in drive.effects if isinstance(each, events.KeepTurn)]


def test_what_a_client_heard_without_a_connection_counts():
    drive, kept = under_way()
    drive.give(events.ClientGone())
    drive.advance(1.0)
    heard = conversation_pb2.Heard(generation=kept.turn.generation, audio_ms=2_200)
    drive.give(events.ClientBack(heard=heard))
    drive.client(interrupt={})
    assert drive.sent("reply_ended")[-1].heard_ms == 2_200


def test_a_text_that_is_sent_again_is_answered_once():
    drive = Drive()
    drive.client(seq=4, text={"text": "Hello"})
    drive.give(events.ClientGone())
    drive.give(events.ClientBack(start_seq=7))
    drive.client(seq=4, text={"text": "Hello"})
    drive.client(seq=5, text={"text": "Swallowed"})
    assert [each.text for each in drive.told_engine("text")] == ["Hello", "Swallowed"]


def test_a_text_that_was_no_turn_yet_is_not_accounted_for():
    drive = Drive()
    drive.client(seq=2, text={"text": "one"})
    drive.commit("one", turn_pb2.UTTERANCE_SOURCE_TEXT)
    drive.client(seq=3, text={"text": "two"})
    assert drive.saves[-1].accounted_seq == 2
    drive.commit("two", turn_pb2.UTTERANCE_SOURCE_TEXT)
    drive.client(seq=9, interrupt={})
    assert drive.saves[-1].accounted_seq == 9


def test_a_text_that_a_lost_engine_had_not_taken_up_is_given_to_the_next():
    from services.conversation import problems

    drive = Drive()
    drive.client(seq=2, text={"text": "one"})
    drive.lose_engine(problems.engine_unavailable())
    effects = drive.give(events.EngineBack())
    assert [each.text for each in drive.told_engine("text", effects)] == ["one"]
