"""What the session machine does, case by case."""

import pytest

from parley.types.v1 import learner_pb2, turn_pb2
from services.common.errors import Unavailable
from services.common.limits import DEFAULT_LIMITS
from services.conversation import events, problems
from services.conversation.floor import State
from services.conversation.pacing import LEAD_MS
from services.conversation.session import UNHEARD_S
from tests.unit.conversation.driving import Drive

COMPLETED = turn_pb2.REPLY_END_REASON_COMPLETED
INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED
FAILED = turn_pb2.REPLY_END_REASON_FAILED
TEXT = turn_pb2.UTTERANCE_SOURCE_TEXT
SESSION_ENDED = turn_pb2.REPLY_END_REASON_SESSION_ENDED
TEN = "one two three four five six seven eight nine ten"


def replying(**config: object) -> Drive:
    """Return a session one second into a reply of three."""
    drive = Drive(**config)
    drive.commit()
    drive.speak(TEN)
    drive.advance(1.15)
    return drive


class TestReply:
    def test_it_is_sent_no_further_ahead_than_the_lead(self):
        drive = Drive()
        drive.commit()
        drive.speak(TEN)
        assert drive.audio_ms in range(LEAD_MS, LEAD_MS + 101)
        drive.advance(1.0)
        assert drive.audio_ms in range(LEAD_MS + 800, LEAD_MS + 1001)

    def test_it_ends_when_it_was_played_not_when_it_was_sent(self):
        drive = Drive()
        drive.commit()
        drive.speak(TEN)
        drive.advance(2.6)
        assert drive.audio_ms == 3000
        assert drive.sent("reply_ended") == []
        drive.advance(1.0)
        [ended] = drive.sent("reply_ended")
        assert (ended.reason, ended.heard_ms, ended.heard_text) == (COMPLETED, 3000, TEN)
        assert drive.recorded_ms == 3000

    def test_reports_of_the_client_beat_the_estimate(self):
        drive = Drive()
        drive.commit()
        drive.speak("one two")
        drive.advance(0.3)
        drive.client(heard={"generation": 1, "audio_ms": 600})
        assert drive.sent("reply_ended")[0].reason == COMPLETED

    def test_a_loudspeaker_that_stalls_was_not_heard_to_the_end(self):
        drive = replying()
        drive.client(heard={"generation": 1, "audio_ms": 650})
        drive.advance(10.0)
        [ended] = drive.sent("reply_ended")
        assert (ended.reason, ended.heard_text) == (INTERRUPTED, "one two")

    @pytest.mark.parametrize(
        ("reported_ms", "reason", "heard"),
        [
            (1_100, INTERRUPTED, "one two three four"),
            (2_700, INTERRUPTED, " ".join(TEN.split()[:9])),
            (2_799, INTERRUPTED, " ".join(TEN.split()[:9])),
            (2_800, COMPLETED, TEN),
            (2_960, COMPLETED, TEN),
        ],
    )
    def test_what_no_report_came_near_was_not_heard(
        self, reported_ms: int, reason: int, heard: str
    ):
        """A loudspeaker that stopped up to two seconds before the end counted as heard."""
        drive = replying()
        drive.advance(1.5)
        drive.client(heard={"generation": 1, "audio_ms": reported_ms})
        drive.advance(10.0)
        [ended] = drive.sent("reply_ended")
        assert (ended.reason, ended.heard_text) == (reason, heard)
        told = drive.told_engine("interrupt")
        assert [each.heard_text for each in told] == ([] if reason == COMPLETED else [heard])

    def test_a_loudspeaker_that_fell_silent_is_not_taken_to_go_on_with_the_clock(self):
        drive = Drive()
        drive.commit()
        drive.speak(TEN)
        drive.advance(0.5)
        drive.client(heard={"generation": 1, "audio_ms": 350})
        drive.advance(2.0)
        drive.client(interrupt={})
        [ended] = drive.sent("reply_ended")
        assert (ended.heard_ms, ended.heard_text) == (350 + 200, "one two")

    def test_a_last_report_that_is_late_still_counts(self):
        drive = replying()
        drive.advance(1.5)
        drive.client(heard={"generation": 1, "audio_ms": 2_600})
        drive.advance(0.9)
        assert drive.sent("reply_ended") == []
        drive.client(heard={"generation": 1, "audio_ms": 3_000})
        assert drive.sent("reply_ended")[0].reason == COMPLETED

    def test_the_engine_is_told_who_has_the_floor_and_that_it_was_heard(self):
        drive = Drive()
        effects = drive.effects
        drive.commit()
        drive.speak("one two")
        drive.advance(2.0)
        assert drive.engine_kinds(effects) == ["floor", "reply_heard", "floor"]
        assert [each.floor for each in drive.told_engine("floor")] == [2, 1]

    def test_captions_do_not_wait_for_a_loudspeaker(self):
        drive = Drive(captions_only=True)
        drive.commit()
        drive.speak(TEN)
        [ended] = drive.sent("reply_ended")
        assert (ended.reason, ended.heard_text) == (COMPLETED, TEN)
        assert drive.sent("reply_audio") == []

    def test_words_that_were_never_voiced_were_not_heard(self):
        """The engine may not have noticed: 0 ms of audio is no reply that was said to its end."""
        drive = Drive()
        drive.commit()
        drive.engine(1, reply_text={"text": "Only words"})
        drive.end("Only words")
        [ended] = drive.sent("reply_ended")
        assert (ended.reason, ended.heard_text, ended.heard_ms) == (FAILED, "", 0)
        [turn] = drive.saved
        assert (turn.reply_text, turn.heard_text) == ("Only words", "")
        assert drive.session.context()[0].tutor == ""
        assert [each.heard_text for each in drive.told_engine("interrupt")] == [""]

    def test_what_the_voice_left_out_at_the_end_was_not_heard(self):
        drive = Drive()
        drive.commit()
        drive.speak("one two", end=False)
        drive.engine(1, reply_text={"text": "three four", "audio_offset_ms": 600})
        drive.end("one two three four", reason=FAILED)
        drive.client(heard={"generation": 1, "audio_ms": 600})
        [ended] = drive.sent("reply_ended")
        assert (ended.reason, ended.heard_text, ended.heard_ms) == (FAILED, "one two", 600)
        effects = drive.effects
        assert drive.told_engine("interrupt", effects)[0].heard_text == "one two"
        assert drive.told_engine("reply_heard", effects) == []

    def test_captions_that_failed_were_read_as_far_as_they_were_shown(self):
        drive = Drive(captions_only=True)
        drive.commit()
        drive.engine(1, reply_text={"text": "one two "})
        drive.end("one two", reason=FAILED)
        [ended] = drive.sent("reply_ended")
        assert (ended.reason, ended.heard_text) == (FAILED, "one two")

    def test_a_reply_too_long_to_be_played_was_not_heard_to_its_end(self):
        drive = Drive()
        drive.commit()
        drive.engine(1, reply_text={"text": "very long"})
        pcm = bytes(48_000 * 30)
        for part in range(6):
            drive.engine(1, reply_audio={"pcm": pcm, "offset_ms": part * 30_000})
        drive.end("very long")
        drive.advance(160.0)
        assert drive.told == ["REPLY_TOO_LONG"]
        assert drive.sent("reply_ended")[0].reason == FAILED

    def test_a_failed_reply_keeps_what_was_heard(self):
        drive = Drive()
        drive.commit()
        drive.speak("one two three", end=False)
        drive.end("one two three", reason=FAILED)
        drive.advance(2.0)
        [turn] = drive.saved
        assert (turn.reply_end_reason, turn.heard_text) == (FAILED, "one two three")

    def test_the_silence_is_the_sum_of_its_stages(self):
        drive = Drive()
        drive.advance(2.0)
        drive.session.note_audio(2_000, drive.now)
        drive.advance(0.2)
        drive.commit()
        drive.advance(0.3)
        stage = turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_ENDPOINT, duration_ms=1200, at_ms=1200)
        pcm = bytes(4800)
        drive.engine(1, reply_audio={"pcm": pcm, "offset_ms": 0, "stages": [stage]})
        drive.end("Hm")
        drive.advance(2.0)
        [turn] = drive.saved
        # Speech ended at 900 ms of the audio; the last of it came 1.1 s later, and then 0.5 s.
        assert sum(each.duration_ms for each in turn.stages) == pytest.approx(1600)
        assert turn.stages[-1].kind == turn_pb2.STAGE_KIND_UNACCOUNTED
        assert turn.stages[-1].duration_ms == pytest.approx(400)


class TestBargeIn:
    def test_speech_pauses_the_reply_and_nothing_more_is_sent(self):
        drive = replying()
        drive.learner_begins()
        assert drive.session.state is State.PAUSED
        sent = drive.audio_ms
        drive.advance(1.0)
        assert drive.audio_ms == sent
        assert len(drive.sent("reply_paused")) == 1

    @pytest.mark.parametrize("words", ["wait", "no I mean something else", "hold on", "what"])
    def test_words_take_the_floor_before_they_are_final(self, words: str):
        drive = replying()
        drive.learner_begins()
        effects = drive.words(words)
        [ended] = drive.sent("reply_ended", effects)
        assert (ended.reason, ended.heard_text) == (INTERRUPTED, "one two three")
        assert events.Silence(1) in effects
        assert drive.engine_kinds(effects) == ["interrupt", "resolve", "floor"]
        assert drive.told_engine("resolve", effects)[0].take
        assert drive.told_engine("interrupt", effects)[0].heard_text == ended.heard_text

    @pytest.mark.parametrize("words", ["mhm", "yeah", "uh huh", "okay right", ""])
    def test_a_backchannel_lets_it_go_on_from_where_it_stopped(self, words: str):
        drive = replying()
        drive.learner_begins()
        if words:
            drive.words(words)
        drive.advance(0.3)
        drive.learner_stops()
        drive.advance(1.3)
        assert len(drive.sent("reply_resumed")) == 1
        assert not drive.told_engine("resolve")[0].take
        drive.advance(4.0)
        offsets = [each.offset_ms for each in drive.sent("reply_audio")]
        assert offsets == list(range(0, 3000, 100))
        assert drive.saved[0].reply_end_reason == COMPLETED

    def test_the_tutors_own_echo_is_no_interruption(self):
        drive = replying()
        drive.learner_begins()
        drive.words("one two three")
        drive.learner_stops()
        assert drive.session.state is State.REPLYING

    def test_the_first_caption_of_its_echo_is_none(self):
        """It is one word, and may be one that stops a speaker."""
        drive = Drive()
        drive.commit()
        drive.speak("so what do you think about it")
        drive.advance(1.3)
        drive.learner_begins(1_100)
        drive.words("What", end_ms=1_400)
        assert drive.session.state is State.PAUSED
        drive.words("what do you", end_ms=2_000)
        drive.learner_stops()
        assert drive.session.state is State.REPLYING

    def test_a_word_of_its_own_stops_it_when_no_more_follow(self):
        drive = Drive()
        drive.commit()
        drive.speak("so what do you think about it")
        drive.advance(1.3)
        drive.learner_begins(1_100)
        drive.words("What", end_ms=1_400)
        drive.learner_stops()
        assert drive.session.state is State.PAUSED
        drive.words("What?", final=True, end_ms=1_400)
        assert drive.sent("reply_ended")[0].reason == INTERRUPTED

    def test_long_speech_without_words_takes_the_floor(self):
        drive = replying()
        drive.learner_begins()
        drive.advance(3.0)
        assert drive.sent("reply_ended")[0].reason == INTERRUPTED

    def test_a_report_after_the_pause_says_what_was_heard(self):
        drive = replying()
        drive.learner_begins()
        drive.client(heard={"generation": 1, "audio_ms": 1250})
        drive.words("wait please")
        [turn] = drive.saved
        assert (turn.heard_ms, turn.heard_text) == (1250, "one two three four")
        assert drive.recorded_ms == 1250

    def test_nothing_of_the_old_reply_follows(self):
        drive = replying()
        drive.learner_begins()
        drive.words("wait please")
        effects = drive.effects[:]
        drive.speak("stale words", 1)
        assert drive.effects == effects
        drive.commit("wait please")
        drive.speak("Of course")
        assert {each.offset_ms for each in drive.sent("reply_audio")[-6:]} == set(
            range(0, 600, 100)
        )

    def test_speech_in_the_last_moment_does_not_stop_it_and_counts(self):
        drive = Drive()
        drive.commit()
        drive.speak("one two")
        drive.advance(0.55)
        drive.learner_begins()
        drive.learner_stops()
        assert drive.session.state is State.REPLYING
        drive.advance(1.0)
        assert drive.told_engine("resolve")[0].take

    def test_without_barge_in_speech_changes_nothing(self):
        preferences = learner_pb2.TurnTakingPreferences(no_barge_in=True)
        drive = replying(turn_taking=preferences)
        drive.learner_begins()
        drive.words("wait stop no")
        drive.learner_stops()
        assert drive.session.state is State.REPLYING
        drive.advance(5.0)
        assert drive.saved[0].reply_end_reason == COMPLETED
        assert not drive.told_engine("resolve")[0].take

    def test_typing_stops_it_at_once(self):
        drive = replying()
        effects = drive.client(text={"text": "Stop"})
        assert drive.engine_kinds(effects) == ["interrupt", "floor", "text"]

    def test_a_stop_for_an_older_reply_is_too_late(self):
        drive = replying(last_generation=4)
        drive.client(interrupt={"generation": 4})
        assert drive.session.state is State.REPLYING

    def test_a_newer_turn_takes_the_place_of_a_reply(self):
        drive = replying()
        drive.commit("Something else")
        assert drive.saved[0].reply_end_reason == INTERRUPTED
        assert drive.session.turn_number == 2


class TestSpeechBeforeTheCommit:
    """The engine decides that a turn is over before it can tell: its transcript takes a while.

    Speech that begins between the two is over the reply, and is heard of before the reply is.
    """

    def test_it_holds_the_reply_back(self):
        drive = Drive()
        drive.learner_begins(1_000)
        drive.commit()
        assert drive.session.state is State.PAUSED
        sends = [each for each in drive.effects if isinstance(each, events.Send)]
        kinds = [each.response.WhichOneof("message") for each in sends]
        assert kinds[-2:] == ["reply_started", "reply_paused"]
        drive.speak(TEN)
        drive.advance(1.0)
        assert drive.sent("reply_audio") == []

    def test_its_words_take_the_floor(self):
        drive = Drive()
        drive.learner_begins(1_000)
        drive.commit()
        drive.speak(TEN)
        effects = drive.words("no wait please stop", end_ms=2_000)
        [ended] = drive.sent("reply_ended", effects)
        assert (ended.reason, ended.heard_text, ended.heard_ms) == (INTERRUPTED, "", 0)
        assert drive.engine_kinds(effects) == ["interrupt", "resolve", "floor"]
        assert drive.told_engine("resolve", effects)[0].take

    def test_words_that_came_before_the_commit_count(self):
        drive = Drive()
        drive.learner_begins(1_000)
        drive.words("no wait", end_ms=1_600)
        drive.learner_stops()
        drive.words("I like tea", final=True, end_ms=900)
        drive.commit()
        assert drive.sent("reply_ended")[0].reason == INTERRUPTED
        assert drive.told_engine("resolve")[0].take

    def test_one_that_has_paused_already_waits_for_its_words(self):
        drive = Drive()
        drive.learner_begins(1_000)
        drive.learner_stops()
        drive.commit()
        drive.speak(TEN)
        assert drive.session.state is State.PAUSED
        drive.words("stop", final=True, end_ms=1_300)
        assert drive.sent("reply_ended")[0].reason == INTERRUPTED

    def test_a_backchannel_lets_the_reply_begin(self):
        drive = Drive()
        drive.learner_begins(1_000)
        drive.commit()
        drive.speak("one two")
        drive.learner_stops()
        drive.words("mhm", final=True, end_ms=1_300)
        assert not drive.told_engine("resolve")[0].take
        drive.advance(2.0)
        assert drive.saved[0].reply_end_reason == COMPLETED

    def test_a_hint_that_crosses_with_speech_is_held_back(self):
        drive = Drive()
        drive.learner_begins(100)
        drive.commit("", turn_pb2.UTTERANCE_SOURCE_NONE)
        assert drive.session.state is State.PAUSED

    def test_without_barge_in_it_stops_nothing_but_is_resolved(self):
        drive = Drive(turn_taking=learner_pb2.TurnTakingPreferences(no_barge_in=True))
        drive.learner_begins(1_000)
        drive.commit()
        assert drive.session.state is State.REPLYING
        drive.learner_stops()
        drive.speak("one two")
        drive.advance(2.0)
        assert not drive.told_engine("resolve")[0].take

    def test_the_utterance_of_the_turn_itself_is_no_interruption(self):
        drive = Drive()
        drive.learner_begins(100)
        drive.learner_stops()
        drive.commit()
        assert drive.session.state is State.REPLYING

    def test_one_that_was_dropped_holds_nothing_back(self):
        drive = Drive()
        drive.learner_begins(1_000)
        drive.engine(utterance_dropped={"reason": "noise"})
        drive.commit()
        assert drive.session.state is State.REPLYING


class TestEngineLost:
    def test_so_many_texts_wait_for_an_engine_and_one_more_is_refused(self):
        drive = Drive()
        drive.lose_engine(Unavailable("Away.", reason="ENGINE_UNAVAILABLE"))
        told = len(drive.told)
        for number in range(DEFAULT_LIMITS.waiting_texts):
            drive.client(text={"text": str(number)})
        assert len(drive.told) == told
        drive.client(text={"text": "one more"})
        assert drive.told[told:] == ["ENGINE_UNAVAILABLE"]

    LOST = problems.engine_unavailable()

    def test_a_reply_that_had_begun_fails_and_keeps_what_was_heard(self):
        drive = Drive()
        drive.commit()
        drive.speak(TEN, end=False)
        drive.advance(1.15)
        drive.lose_engine(self.LOST)
        [turn] = drive.saved
        assert (turn.reply_end_reason, turn.heard_text) == (FAILED, "one two three")
        assert drive.session.context()[0].tutor == "one two three"

    def test_a_reply_that_has_come_whole_is_played_to_its_end(self):
        drive = replying()
        drive.lose_engine(self.LOST)
        drive.advance(4.0)
        assert drive.saved[0].reply_end_reason == COMPLETED

    def test_one_that_had_not_begun_is_asked_for_again_once(self):
        drive = Drive()
        drive.commit("I like tea")
        drive.lose_engine(self.LOST)
        effects = drive.give(events.EngineBack())
        assert drive.told_engine("text", effects)[0].text == "I like tea"
        drive.commit("I like tea", TEXT)
        assert drive.session.turn_number == 1
        drive.lose_engine(self.LOST)
        assert drive.saved[0].reply_end_reason == FAILED

    @pytest.mark.parametrize("same", [False, True])
    def test_typing_while_it_is_asked_for_again_makes_no_second_turn_of_it(self, same: bool):
        """The new engine took up the old utterance after the typed one had ended it: a double."""
        typed = "I like tea" if same else "Good bye"
        drive = Drive()
        drive.commit("I like tea")
        drive.lose_engine(self.LOST)
        drive.give(events.EngineBack())
        drive.client(text={"text": typed})
        stale = drive.commit("I like tea", TEXT)
        drive.speak("too late", stale)
        drive.commit(typed, TEXT)
        drive.speak("Bye")
        drive.advance(2.0)
        told = [(turn.number, turn.utterance.verbatim, turn.heard_text) for turn in drive.saved]
        assert told == [(1, "I like tea", ""), (2, typed, "Bye")]

    def test_one_that_is_stopped_while_asked_for_again_stays_stopped(self):
        drive = Drive()
        drive.commit("I like tea")
        drive.lose_engine(self.LOST)
        drive.give(events.EngineBack())
        drive.client(interrupt={})
        # The old generation means nothing to the new engine, and must not touch its memory.
        assert drive.told_engine("interrupt") == []
        stale = drive.commit("I like tea", TEXT)
        drive.speak("too late", stale)
        assert [each.generation for each in drive.told_engine("interrupt")] == [stale]
        assert drive.sent("reply_audio") == []
        assert len(drive.saved) == 1

    def test_what_is_said_meanwhile_is_answered_though_the_engine_left_it(self):
        drive = Drive()
        drive.commit("I like tea")
        drive.lose_engine(self.LOST)
        drive.give(events.EngineBack())
        drive.commit("No, coffee")
        effects = drive.effects[:]
        drive.commit("I like tea", TEXT)
        asked = [each.text for each in drive.told_engine("text", drive.effects[len(effects) :])]
        assert asked == ["No, coffee"]
        drive.speak("too late")
        drive.commit("No, coffee", TEXT)
        drive.speak("Coffee then")
        drive.advance(3.0)
        told = [(turn.number, turn.utterance.verbatim, turn.heard_text) for turn in drive.saved]
        assert told == [(1, "I like tea", ""), (2, "No, coffee", "Coffee then")]

    def test_a_reply_that_plays_on_is_corrected_in_the_new_engine_when_it_is_interrupted(self):
        """It counted as heard to its end for an engine that came while it was playing."""
        drive = replying()
        drive.lose_engine(self.LOST)
        assert drive.session.context()[-1].tutor == TEN
        drive.client(interrupt={})
        [turn] = drive.saved
        effects = drive.give(events.EngineBack())
        [told] = drive.told_engine("interrupt", effects)
        assert (told.generation, told.heard_text) == (turn.generation, turn.heard_text)
        assert drive.told_engine("interrupt", drive.give(events.EngineBack())) == []

    def test_texts_typed_meanwhile_are_kept_in_order(self):
        drive = Drive()
        drive.lose_engine(self.LOST)
        for text in ("one", "two"):
            drive.client(text={"text": text})
        effects = drive.give(events.EngineBack())
        assert [each.text for each in drive.told_engine("text", effects)] == ["one", "two"]

    @pytest.mark.parametrize("released", ["before", "after"])
    def test_a_turn_that_the_button_ended_is_ended_for_the_new_one_too(self, released: str):
        """It was heard again, and never answered: only the button ends such a turn."""
        drive = Drive(turn_taking=learner_pb2.TurnTakingPreferences(push_to_talk=True))
        drive.session.note_audio(500, drive.now)
        drive.learner_begins(100)
        if released == "before":
            drive.client(seq=5, end_turn={})
        drive.lose_engine(self.LOST)
        drive.advance(0.5)
        if released == "after":
            drive.client(seq=5, end_turn={})
        assert drive.give(events.EngineBack()) == []
        assert drive.engine_kinds(drive.give(events.EngineCaughtUp())) == ["end_turn"]

    def test_a_button_that_is_down_again_ends_nothing_for_the_new_one(self):
        drive = Drive(turn_taking=learner_pb2.TurnTakingPreferences(push_to_talk=True))
        drive.client(seq=5, end_turn={})
        drive.advance(0.5)
        drive.session.note_audio(500, drive.now)
        drive.learner_begins(100)
        drive.lose_engine(self.LOST)
        assert drive.give(events.EngineBack()) == drive.give(events.EngineCaughtUp()) == []

    @pytest.mark.parametrize("what", ["opening", "hint"])
    def test_what_the_tutor_was_to_say_unasked_is_asked_for_again(self, what: str):
        drive = Drive(tutor_opens=what == "opening")
        drive.give(events.Opened())
        if what == "hint":
            drive.engine(long_silence={"silence_ms": 9000})
        drive.lose_engine(self.LOST)
        effects = drive.give(events.EngineBack())
        assert len(drive.told_engine("request_reply", effects)) == 1
        drive.commit("", turn_pb2.UTTERANCE_SOURCE_NONE)
        drive.speak("Well")
        drive.advance(1.0)
        drive.lose_engine(self.LOST)
        assert drive.told_engine("request_reply", drive.give(events.EngineBack())) == []

    def test_settings_that_were_taken_back_are_so_for_the_new_one(self):
        drive = Drive()
        for wished in (True, False):
            drive.client(settings={"turn_taking": {"push_to_talk": wished}})
        drive.lose_engine(self.LOST)
        [settings] = drive.told_engine("settings", drive.give(events.EngineBack()))
        assert not settings.turn_taking.push_to_talk

    @pytest.mark.parametrize("lost", ["before", "while closing"])
    @pytest.mark.parametrize("said", ["text", "speech"])
    def test_what_was_said_before_the_client_closed_its_side_waits_for_a_new_one(
        self, said: str, lost: str
    ):
        """It was left, and the session ended in good order."""
        drive = Drive()
        if said == "text":
            drive.client(text={"text": "Good bye"})
        else:
            drive.learner_begins(100)
        for what in (self.LOST, None) if lost == "before" else (None, self.LOST):
            if what is None:
                drive.give(events.ClientDone())
            else:
                drive.lose_engine(what)
        effects = drive.give(events.EngineBack()) + drive.give(events.EngineCaughtUp())
        assert drive.engine_kinds(effects)[-2:] == ["end_turn", "end_input"]
        assert len(drive.told_engine("text", effects)) == (said == "text")
        drive.lose_engine(self.LOST)
        drive.advance(DEFAULT_LIMITS.closing_seconds + 1)
        [ended] = [each for each in drive.effects if isinstance(each, events.End)]
        assert (ended.error is None) is (said == "speech")

    def test_a_client_that_closes_its_side_with_nothing_open_needs_no_engine(self):
        drive = Drive()
        drive.lose_engine(self.LOST)
        assert drive.give(events.ClientDone()) == [events.End(None)]

    def test_changed_settings_are_told_to_the_new_one(self):
        drive = Drive()
        drive.client(settings={"voice": "bea"})
        drive.client(settings={"speech_rate": 1.5})
        drive.lose_engine(self.LOST)
        [settings] = drive.told_engine("settings", drive.give(events.EngineBack()))
        assert (settings.voice, settings.speech_rate) == ("bea", 1.5)

    def test_an_engine_that_does_not_begin_is_replaced_once(self):
        drive = Drive(reply_timeout_s=20)
        drive.commit()
        drive.advance(60.0)
        assert sum(isinstance(each, events.RestartEngine) for each in drive.effects) == 1


class TestAccountedAudio:
    """What a client must send again to another process, and what not."""

    def test_a_turn_accounts_for_the_audio_up_to_the_end_of_its_reply(self):
        drive = Drive()
        drive.commit()
        drive.speak("one two")
        drive.session.note_audio(5_000, drive.now)
        drive.advance(2.0)
        [saved] = drive.saves
        assert saved.accounted_ms in range(4_000, 5_001)

    def test_an_interrupting_utterance_is_not_accounted_for(self):
        drive = replying()
        drive.session.note_audio(5_000, drive.now)
        drive.engine(speech_started={"at_ms": 3_100})
        drive.words("wait a moment")
        [saved] = drive.saves
        assert saved.accounted_ms == 3_100

    def test_a_dismissed_utterance_is(self):
        drive = replying()
        drive.engine(speech_started={"at_ms": 1_100})
        drive.words("mhm")
        drive.learner_stops()
        drive.session.note_audio(8_000, drive.now)
        drive.advance(5.0)
        assert drive.saves[0].accounted_ms > 7_000

    def test_it_never_goes_back(self):
        drive = Drive(accounted_ms=60_000, next_turn=4)
        drive.commit()
        drive.client(interrupt={})
        assert drive.saves[0].accounted_ms == 60_000

    def test_the_summary_of_a_resumed_session_counts_what_was_stored_before(self):
        """Three turns were told though four had been saved."""
        stage = turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_UNACCOUNTED, duration_ms=800, at_ms=800)
        played = turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_PLAYED, duration_ms=100)
        past = turn_pb2.Turn(
            number=1,
            source=turn_pb2.UTTERANCE_SOURCE_SPEECH,
            utterance_start_ms=1_000,
            utterance_end_ms=3_000,
            heard_ms=4_000,
            stages=[stage, played],
        )
        drive = Drive(past=(past,), next_turn=2)
        assert drive.session.unsaved_turns == 0
        drive.commit()
        drive.client(interrupt={})
        summary = drive.session.summary(drive.now)
        assert (summary.turns, summary.turns_saved) == (2, 1)
        assert (summary.learner_speech_ms, summary.tutor_speech_ms) == (2_800, 4_000)
        assert summary.median_silence_ms == 800


class TestPace:
    def test_the_engines_estimate_is_kept_with_the_turn_and_told_to_the_next_engine(self):
        drive = Drive(turn_taking=learner_pb2.TurnTakingPreferences(typical_pause_ms=300))
        assert drive.session.turn_taking.typical_pause_ms == 300
        drive.engine(1, turn_committed={"source": TEXT, "typical_pause_ms": 900})
        assert drive.session.turn_taking.typical_pause_ms == 900
        drive.client(settings={"turn_taking": {"patience": 1.0}})
        assert drive.session.turn_taking.typical_pause_ms == 900
        assert drive.session.turn_taking.patience == 1.0
        drive.client(interrupt={})
        assert drive.saves[0].typical_pause_ms == 900


class TestEnds:
    def test_finish_saves_the_turn_under_way(self):
        drive = replying()
        effects = drive.client(finish={})
        [turn] = drive.saved
        assert (turn.reply_end_reason, turn.heard_text) == (SESSION_ENDED, "one two three")
        assert effects[-1] == events.End(None)
        assert drive.session.state is State.ENDED
        assert drive.session.deadline() is None

    def test_turns_are_acknowledged_even_after_the_end(self):
        drive = replying()
        drive.client(finish={})
        drive.give(events.TurnStored(drive.saved[0].turn_id, 1))
        assert drive.sent("turn_saved")[0].number == 1
        assert drive.session.summary(drive.now).turns_saved == 1

    def test_muted_for_ten_minutes_is_idle_but_silence_is_not(self):
        drive = Drive(idle_s=300, session_s=7200)
        for second in range(600):
            drive.advance(1.0)
            drive.session.note_audio(second * 1000, drive.now)
        assert drive.session.state is State.LISTENING
        assert drive.saved == []
        drive.advance(301.0)
        assert drive.told == ["CONVERSATION_IDLE"]

    def test_a_client_that_never_said_anything_is_not_waited_for_long(self):
        drive = Drive(resume_s=120)
        drive.give(events.ClientGone())
        assert drive.advance(UNHEARD_S - 0.001) == []
        assert drive.advance(0.002) == [events.End(None)]

    def test_a_client_that_is_cut_off_may_come_back_for_so_long_and_no_longer(self):
        drive = Drive(resume_s=120)
        drive.client(ping={"nonce": 1})
        drive.give(events.ClientGone())
        drive.advance(119.999)
        assert drive.session.state is not State.ENDED
        drive.advance(0.002)
        assert drive.session.state is State.ENDED

    def test_a_client_that_has_closed_its_side_is_answered_for_so_long_and_no_longer(self):
        drive = Drive()
        drive.give(events.ClientDone())
        drive.advance(DEFAULT_LIMITS.closing_seconds - 0.001)
        assert drive.session.state is not State.ENDED
        drive.advance(0.002)
        assert drive.session.state is State.ENDED

    def test_a_client_is_idle_after_so_long_and_not_before(self):
        drive = Drive(idle_s=300, session_s=7200)
        drive.client(ping={"nonce": 1})
        drive.advance(299.999)
        assert drive.told == []
        drive.advance(0.002)
        assert drive.told == ["CONVERSATION_IDLE"]

    def test_a_session_lasts_so_long_and_no_longer(self):
        drive = Drive(idle_s=300, session_s=600)
        for _ in range(599):
            drive.advance(1.0)
            drive.client(ping={"nonce": 1})
        drive.advance(0.999)
        assert drive.told == []
        drive.advance(0.002)
        assert drive.told == ["CONVERSATION_TOO_LONG"]

    @pytest.mark.parametrize("said", ["a ping", "audio", "a handle"])
    def test_a_client_that_was_heard_from_may_take_its_time(self, said: str):
        drive = Drive(resume_s=120)
        if said == "a ping":
            drive.client(ping={"nonce": 1})
        elif said == "audio":
            drive.session.note_audio(20, drive.now)
        else:
            drive.give(events.ClientGone())
            drive.give(events.ClientBack())
        drive.give(events.ClientGone())
        drive.advance(119.0)
        assert drive.session.state is State.LISTENING
        drive.advance(1.1)
        assert drive.effects[-1] == events.End(None)

    def test_a_session_that_was_taken_over_waits_for_its_client_as_before(self):
        drive = Drive(resume_s=120, elapsed_s=30.0)
        drive.give(events.ClientGone())
        drive.advance(119.0)
        assert drive.session.state is State.LISTENING

    def test_a_hint_is_asked_for_once_in_a_silence(self):
        drive = Drive()
        for _ in range(3):
            drive.engine(long_silence={"silence_ms": 9000})
        assert len(drive.told_engine("request_reply")) == 1
        drive.commit()
        drive.speak("one")
        drive.advance(2.0)
        drive.engine(long_silence={"silence_ms": 9000})
        assert len(drive.told_engine("request_reply")) == 2

    @pytest.mark.parametrize(("opening", "hints"), [(False, 0), (True, 1)])
    def test_a_session_that_goes_on_knows_of_the_hint_before(self, opening: bool, hints: int):
        unasked = turn_pb2.Turn(number=1, source=turn_pb2.UTTERANCE_SOURCE_NONE)
        drive = Drive(past=(unasked,), next_turn=2, tutor_opens=opening)
        drive.engine(long_silence={"silence_ms": 9000})
        assert len(drive.told_engine("request_reply")) == hints

    def test_the_tutor_opens_where_it_is_asked_to(self):
        drive = Drive(tutor_opens=True)
        effects = drive.give(events.Opened())
        assert drive.engine_kinds(effects) == ["request_reply"]
        drive.commit("", turn_pb2.UTTERANCE_SOURCE_NONE)
        assert drive.sent("reply_started")[0].kind == 2

    def test_draining_lets_the_reply_finish(self):
        drive = replying()
        drive.give(events.Draining(20.0))
        assert drive.session.state is State.REPLYING
        drive.advance(3.0)
        assert isinstance(drive.effects[-1], events.Suspend)
        assert drive.saved[0].reply_end_reason == COMPLETED

    def test_draining_does_not_wait_for_ever(self):
        drive = replying()
        drive.give(events.Draining(2.5))
        drive.advance(0.6)
        assert drive.saved[0].reply_end_reason == SESSION_ENDED
