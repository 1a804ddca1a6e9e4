"""A microphone that sends nothing: waits that are counted in audio pass all the same."""

from typing import Any

import pytest

from parley.types.v1 import learner_pb2, turn_pb2
from services.conversation import events, problems
from services.conversation.events import Effect
from services.conversation.quiet_microphone import ENOUGH_S, ONSET_S
from tests.unit.conversation.driving import Drive

PUSH_TO_TALK = learner_pb2.TurnTakingPreferences(push_to_talk=True)
TEN = "one two three four five six seven eight nine ten"


def silence_ms(effects: list[Effect]) -> int:
    return sum(each.ms for each in effects if isinstance(each, events.HearSilence))


def spoken(**config: Any) -> Drive:
    """A learner in the middle of an utterance, with a second of audio behind."""
    drive = Drive(**config)
    drive.advance(1.0)
    drive.session.note_audio(1_000, drive.now)
    drive.learner_begins(200)
    return drive


class TestMuted:
    def test_right_after_a_word_the_engine_hears_silence_at_the_clocks_pace(self):
        drive = spoken()
        drive.client(settings={"muted": True})
        assert silence_ms(drive.advance(0.25)) == 0, "its audio may be on its way"
        assert silence_ms(drive.advance(0.76)) == pytest.approx(1_000, abs=101)
        assert silence_ms(drive.advance(4.0)) == pytest.approx(4_000, abs=101)

    def test_once_the_turn_is_over_there_is_no_more_of_it(self):
        drive = spoken()
        drive.client(settings={"muted": True})
        drive.advance(3.0)
        drive.commit()
        drive.speak(TEN)
        silent = silence_ms(drive.advance(60.0))
        assert silent <= 2 * 1_000 * ONSET_S + 200, "the floor moved twice"

    def test_it_is_enough_at_some_time_though_nothing_comes_of_it(self):
        drive = spoken()
        drive.client(settings={"muted": True})
        assert silence_ms(drive.advance(200.0)) == pytest.approx(1_000 * ENOUGH_S, abs=101)

    def test_audio_that_comes_all_the_same_is_what_is_heard(self):
        drive = spoken()
        drive.client(settings={"muted": True})
        for frame in range(50):
            assert silence_ms(drive.advance(0.1)) == 0
            drive.session.note_audio(1_100 + frame * 100, drive.now)

    def test_an_open_microphone_that_is_late_is_not_made_up_for(self):
        drive = spoken()
        assert silence_ms(drive.advance(5.0)) == 0
        drive.client(settings={"muted": True})
        drive.client(settings={"muted": False})
        assert silence_ms(drive.advance(5.0)) == 0

    def test_who_is_muted_is_given_no_hint(self):
        drive = Drive()
        drive.session.note_audio(1_000, drive.now)
        drive.client(settings={"muted": True})
        assert silence_ms(drive.advance(60.0)) < 9_000

    @pytest.mark.parametrize("how", ["gone", "without an engine", "done"])
    def test_nobody_hears_silence_when_nobody_listens_or_speaks(self, how: str):
        drive = spoken(resume_s=60)
        drive.client(settings={"muted": True})
        if how == "gone":
            drive.give(events.ClientGone())
        elif how == "done":
            drive.give(events.ClientDone())
        else:
            drive.lose_engine(problems.engine_unavailable())
        assert silence_ms(drive.advance(5.0)) == 0

    @pytest.mark.parametrize(("words", "taken"), [("", False), ("mhm", False), ("wait", True)])
    def test_over_a_reply_what_was_said_is_judged_as_if_it_had_ended(self, words: str, taken: bool):
        drive = Drive()
        drive.commit()
        drive.speak(TEN)
        drive.advance(1.0)
        drive.session.note_audio(5_000, drive.now)
        drive.learner_begins(4_900)
        drive.advance(0.1)
        drive.client(settings={"muted": True})
        if words:
            drive.words(words, end_ms=5_000)
        drive.advance(3.0)
        assert [each.take for each in drive.told_engine("resolve")] == [taken]
        resumed = drive.sent("reply_resumed")
        assert len(resumed) == (0 if taken else 1)
        drive.advance(3.0)
        [turn] = drive.saved
        assert (turn.reply_end_reason == turn_pb2.REPLY_END_REASON_INTERRUPTED) is taken


class TestPushToTalk:
    def test_with_the_button_up_long_silence_passes(self):
        drive = spoken(turn_taking=PUSH_TO_TALK)
        drive.client(end_turn={})
        drive.commit()
        drive.speak("one two")
        drive.advance(1.0)
        assert len(drive.saved) == 1
        assert 9_000 < silence_ms(drive.advance(60.0)) <= 1_000 * ENOUGH_S + 101

    def test_while_it_is_held_down_what_is_late_is_waited_for(self):
        drive = spoken(turn_taking=PUSH_TO_TALK)
        assert silence_ms(drive.advance(5.0)) == 0

    def test_nobody_is_pressed_who_only_types(self):
        drive = Drive(turn_taking=PUSH_TO_TALK)
        drive.client(text={"text": "Hello"})
        assert silence_ms(drive.advance(60.0)) == 0
