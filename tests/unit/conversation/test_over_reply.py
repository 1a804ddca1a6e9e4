"""Speech over a reply: what is said into the tutor's first and last words."""

from typing import Any

import pytest

from parley.types.v1 import learner_pb2, turn_pb2
from services.conversation import events
from services.conversation.floor import State
from tests.unit.conversation.driving import Drive

INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED
COMPLETED = turn_pb2.REPLY_END_REASON_COMPLETED
TEN = "one two three four five six seven eight nine ten"


def says(drive: Drive, words: str, *, lasts_ms: int = 450, final: bool = True) -> None:
    """Speak over the reply: the words come 160 ms after the speech has ended."""
    drive.learner_begins(1_300)
    drive.advance(lasts_ms / 1000)
    drive.engine(speech_ended={"at_ms": 1_300 + lasts_ms})
    drive.advance(0.16)
    drive.words(words, final=final, end_ms=1_300 + lasts_ms)


class TestBeforeTheReplyIsHeard:
    """The engine took a pause for the end: the last word is part of what the learner says."""

    @pytest.mark.parametrize(
        "words", ["Tomorrow.", "Good.", "Interesting.", "My sister.", "Oh yes I know.", "Okay"]
    )
    @pytest.mark.parametrize("final", [True, False])
    @pytest.mark.parametrize("sounded_ms", [None, 0, 300])
    def test_any_word_takes_the_floor(self, words: str, final: bool, sounded_ms: int | None):
        drive = Drive()
        drive.commit("I went to the cinema with my friends.")
        if sounded_ms is not None:
            drive.speak(TEN)
            drive.advance(0.15 + sounded_ms / 1000)
        says(drive, words, lasts_ms=430, final=final)
        drive.advance(1.3)
        assert drive.sent("reply_ended")[0].reason == INTERRUPTED
        assert [each.take for each in drive.told_engine("resolve")] == [True]

    @pytest.mark.parametrize("words", ["Mhm.", "uh huh", "Oh.", ""])
    def test_a_sound_or_nothing_does_not(self, words: str):
        drive = Drive()
        drive.commit("I went to the cinema with my friends.")
        says(drive, words)
        drive.advance(1.3)
        assert [each.take for each in drive.told_engine("resolve")] == [False]
        assert drive.session.state is State.REPLYING

    def test_a_first_guess_is_waited_out(self):
        """A recognizer makes a word of a hum, and thinks better of it."""
        drive = Drive()
        drive.commit("I went to the cinema with my friends.")
        drive.learner_begins(1_300)
        drive.words("Tom", end_ms=1_500)
        assert drive.session.state is State.PAUSED
        drive.engine(speech_ended={"at_ms": 1_700})
        drive.words("Mhm", final=True, end_ms=1_700)
        assert drive.session.state is State.REPLYING

    def test_words_that_came_before_the_commit_are_judged_by(self):
        drive = Drive()
        drive.learner_begins(1_000)
        drive.words("Tomorrow", end_ms=1_400)
        drive.engine(speech_ended={"at_ms": 1_400})
        drive.commit("I want to go to Spain")
        drive.advance(1.3)
        assert [each.take for each in drive.told_engine("resolve")] == [True]

    def test_once_it_is_heard_a_listener_may_say_so(self):
        drive = Drive()
        drive.commit("I like tea")
        drive.speak(TEN)
        drive.advance(0.15 + 0.4)
        says(drive, "Good.")
        drive.advance(1.3)
        assert [each.take for each in drive.told_engine("resolve")] == [False]


class TestWhatWasNoTurnIsTakenBack:
    """The client shows what is being said as the next turn, and has to hear that it is none."""

    def shown(self, drive: Drive) -> list[tuple[int, str, bool]]:
        responses = [each.response for each in drive.effects if isinstance(each, events.Send)]
        return [
            (each.turn, each.transcript.transcript.verbatim, each.transcript.final)
            for each in responses
            if each.HasField("transcript")
        ]

    def heard(self, **config: Any) -> Drive:
        drive = Drive(**config)
        drive.commit("I like tea")
        drive.speak(TEN)
        drive.advance(1.0)
        return drive

    def test_a_dismissed_backchannel(self):
        drive = self.heard()
        says(drive, "mhm")
        drive.engine(utterance_dropped={"reason": "dismissed"})
        assert self.shown(drive)[1:] == [(2, "mhm", True), (2, "", True)]

    def test_one_that_the_reply_outlasts(self):
        drive = self.heard(turn_taking=learner_pb2.TurnTakingPreferences(no_barge_in=True))
        says(drive, "wait stop", final=False)
        drive.advance(5.0)
        assert self.shown(drive)[1:] == [(2, "wait stop", False), (2, "", True)]

    def test_one_that_the_engine_drops(self):
        drive = Drive()
        drive.learner_begins()
        drive.words("Thank you")
        drive.engine(utterance_dropped={"reason": "empty"})
        assert self.shown(drive) == [(1, "Thank you", False), (1, "", True)]

    def test_one_that_is_typed_over(self):
        drive = self.heard()
        drive.learner_begins(1_300)
        drive.words("tea", end_ms=1_500)
        drive.client(text={"text": "Stop"})
        assert self.shown(drive)[1:] == [(2, "tea", False), (2, "", True)]

    def test_of_what_was_never_shown_nothing(self):
        drive = self.heard()
        drive.learner_begins(1_300)
        drive.learner_stops()
        drive.advance(1.3)
        drive.engine(utterance_dropped={"reason": "dismissed"})
        assert len(self.shown(drive)) == 1

    def test_what_is_a_turn_stays(self):
        drive = self.heard()
        says(drive, "no wait", final=False)
        drive.commit("no wait")
        drive.engine(utterance_dropped={"reason": "noise"})
        assert self.shown(drive)[1:] == [(2, "no wait", False), (2, "no wait", True)]


class TestAnAnswerBeforeTheQuestionsLastWord:
    def asked(self, question: str = "oh nice and do you like dogs?", left_s: float = 0.4) -> Drive:
        drive = Drive()
        drive.commit("I like pets")
        drive.speak(question)
        drive.advance(0.15 + len(question.split()) * 0.3 - left_s)
        return drive

    @pytest.mark.parametrize("words", ["Yes.", "Yeah", "okay, sure", "Of course!", "Cats"])
    @pytest.mark.parametrize("left_s", [0.4, 0.95])
    def test_the_question_is_finished_and_the_answer_taken(self, words: str, left_s: float):
        drive = self.asked(left_s=left_s)
        says(drive, words, lasts_ms=350)
        assert drive.told_engine("resolve") == []
        assert drive.session.state is State.REPLYING
        drive.advance(1.3)
        [ended] = drive.sent("reply_ended")
        assert ended.reason == COMPLETED
        assert [each.take for each in drive.told_engine("resolve")] == [True]
        drive.commit(words)
        verbatims = [each.transcript.verbatim for each in drive.sent("transcript")]
        assert "" not in verbatims[1:], "it stays where it was shown"

    def test_more_that_follows_is_part_of_it(self):
        drive = self.asked(left_s=0.9)
        says(drive, "Yes.", lasts_ms=350)
        drive.words("Yes I do", end_ms=2_500)
        drive.advance(1.3)
        assert [each.take for each in drive.told_engine("resolve")] == [True]

    @pytest.mark.parametrize("words", ["mhm", "uh huh", "", "you like", "like"])
    def test_a_sound_or_an_echo_is_none(self, words: str):
        drive = self.asked()
        says(drive, words, lasts_ms=350)
        drive.advance(2.0)
        assert [each.take for each in drive.told_engine("resolve")] == [False]

    @pytest.mark.parametrize("text", ["oh nice and I like dogs.", "do you? Well I like dogs"])
    def test_where_nothing_was_asked_there_is_none(self, text: str):
        drive = self.asked(text)
        says(drive, "Yes.", lasts_ms=350)
        assert [each.take for each in drive.told_engine("resolve")] == [False]

    def test_in_the_middle_of_it_there_is_none(self):
        drive = self.asked(left_s=1.3)
        says(drive, "Yes.", lasts_ms=350)
        assert [each.take for each in drive.told_engine("resolve")] == [False]


class TestTheButton:
    """With push-to-talk only its release ends what is said."""

    def test_a_release_that_overtakes_the_engines_notice_of_speech_ends_it(self):
        """The words stopped the tutor and were never answered."""
        drive = Drive(turn_taking=learner_pb2.TurnTakingPreferences(push_to_talk=True))
        drive.commit()
        drive.speak(TEN)
        drive.advance(1.0)
        drive.session.note_audio(1_400, drive.now)
        assert drive.client(seq=7, end_turn={}) == []
        effects = drive.learner_begins(1_100)
        assert drive.engine_kinds(effects) == ["interrupt", "resolve", "floor", "end_turn"]
        assert [turn.reply_end_reason for turn in drive.saved] == [INTERRUPTED]

    def test_one_of_before_does_not(self):
        drive = Drive()
        drive.commit()
        drive.client(seq=7, end_turn={})
        drive.speak(TEN)
        drive.advance(1.0)
        drive.session.note_audio(1_400, drive.now)
        assert drive.engine_kinds(drive.learner_begins(1_100)) == []
        assert drive.session.state is State.PAUSED


@pytest.mark.parametrize("words", ["mhm", "I meant the other one"])
def test_what_is_said_beside_a_typed_text_is_speech_over_its_answer(words: str):
    """A "mhm" became a turn of its own, and cut off the answer."""
    drive = Drive()
    drive.learner_begins(200)
    drive.client(text={"text": "I like tea"})
    drive.commit("I like tea", turn_pb2.UTTERANCE_SOURCE_TEXT)
    drive.speak(TEN)
    assert drive.session.state is State.PAUSED
    drive.engine(speech_ended={"at_ms": 600})
    drive.words(words, final=True, end_ms=1_000)
    drive.advance(4.0)
    assert [each.take for each in drive.told_engine("resolve")] == [words != "mhm"]
    assert [turn.reply_end_reason for turn in drive.saved] == [
        COMPLETED if words == "mhm" else INTERRUPTED
    ]
