"""The turn-taking machine: what must happen in sessions that are written out.

What holds in any session is in `test_turn_taking_properties`.
"""

from dataclasses import dataclass

import pytest

from services.ai.audio import ms_of_samples, samples_of_ms
from services.ai.engine import Floor, TurnTakingPreferences
from services.ai.turn_taking import (
    MAX_SPECULATIONS,
    AskAgain,
    Committed,
    Dropped,
    DropReason,
    Effect,
    EndRequested,
    Event,
    FloorChanged,
    Paused,
    PauseWords,
    Resumed,
    SentenceEnd,
    SilentLong,
    Speculate,
    SpeculationRefused,
    Started,
    TurnScore,
    TurnTaking,
    UtteranceResolved,
    VoiceFrame,
)
from services.common.limits import DEFAULT_LIMITS

FRAME = 512


@dataclass
class Session:
    """Drives a machine with stretches of voice and silence, keeping every effect."""

    machine: TurnTaking
    now: int = 0
    pause: int = 0

    def frames(self, ms: float, probability: float) -> list[Effect]:
        effects: list[Effect] = []
        for _ in range(samples_of_ms(ms) // FRAME):
            self.now += FRAME
            effects += self.tell(VoiceFrame(probability, FRAME))
        return effects

    def tell(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(event, self.now)
        for effect in effects:
            if isinstance(effect, Paused):
                self.pause = effect.pause
        return effects

    def voice(self, ms: float) -> list[Effect]:
        return self.frames(ms, 0.95)

    def silence(self, ms: float) -> list[Effect]:
        return self.frames(ms, 0.02)

    def answers(self, score: float, words: str) -> list[Effect]:
        return [
            *self.tell(TurnScore(self.pause, score)),
            *self.tell(PauseWords(self.pause, words)),
        ]


def session(**preferences: object) -> Session:
    return Session(TurnTaking(TurnTakingPreferences(**preferences)))


def of(kind: type, effects: list[Effect]) -> list:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_a_click_is_no_speech():
    talk = session()
    assert talk.voice(64) + talk.silence(500) == []


def test_speech_is_reported_from_its_first_voiced_frame():
    talk = session()
    talk.silence(320)
    (started,) = of(Started, talk.voice(200))
    assert started.start == samples_of_ms(320)


def test_a_closed_consonant_ends_nothing_whatever_the_models_say():
    talk = session()
    talk.voice(500)
    (paused,) = of(Paused, talk.silence(64))
    early = talk.answers(0.99, "I like to cook.")
    later = talk.silence(64) + talk.voice(300)
    assert of(Committed, early + later) == []
    assert of(Resumed, later) == [Resumed(paused.pause)]


def test_a_sure_pause_ends_the_turn_soon():
    talk = session()
    talk.voice(1000)
    talk.silence(128)
    early = talk.answers(0.99, "I like to cook.")
    assert of(Speculate, early) != []
    assert of(Committed, early) == []
    (committed,) = of(Committed, talk.silence(64))
    assert committed.pause == talk.pause
    assert ms_of_samples(talk.now - committed.speech_end) <= 200


def test_an_unsure_pause_waits_longer_than_a_sure_one():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    talk.answers(0.02, "I like to")
    assert of(Committed, talk.silence(1000)) == []


def test_no_turn_ends_before_its_words_are_known_unless_they_never_come():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    talk.tell(TurnScore(talk.pause, 0.99))
    assert of(Committed, talk.silence(2000)) == []
    assert of(Committed, talk.silence(800)) != []


def test_a_turn_that_says_it_goes_on_is_waited_for():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    talk.answers(0.99, "I went there because")
    assert of(Committed, talk.silence(2000)) == []


def test_who_asks_for_time_is_waited_for_as_long_as_a_silence_lasts_before_help():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    assert of(Committed, talk.answers(0.99, "Let me think.") + talk.silence(8_700)) == []
    assert of(Committed, talk.silence(300)) != []


def test_a_pause_that_was_asked_for_is_not_taken_for_the_learners_usual_one():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    talk.answers(0.99, "Just a moment, please.")
    talk.silence(7_000)
    assert of(Resumed, talk.voice(500)) != []
    assert talk.machine.typical_pause_ms == 0


def test_a_pause_in_doubt_is_asked_about_once_more():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    talk.answers(0.02, "I like to cook")
    assert of(AskAgain, talk.silence(2000)) == [AskAgain(talk.pause)]


def test_nobody_asks_again_where_a_button_ends_the_turn():
    talk = session(push_to_talk=True)
    talk.voice(1000)
    assert of(AskAgain, talk.silence(2000)) == []


def test_the_language_models_opinion_ends_a_turn_whose_sound_left_it_in_doubt():
    talk = session()
    talk.voice(1000)
    talk.silence(400)
    assert of(Committed, talk.answers(0.4, "Jack likes the science class")) == []
    assert of(Committed, talk.tell(SentenceEnd(talk.pause - 1, 0.9))) == []
    assert of(Committed, talk.tell(SentenceEnd(talk.pause, 0.9))) != []


def test_what_goes_on_after_a_cut_is_judged_with_what_was_said_before_it():
    cut, fresh = session(), session()
    cut.voice(1000)
    cut.silence(170)
    cut.answers(0.99, "On Sundays I like to cook for friends.")
    cut.silence(100)
    cut.tell(FloorChanged(Floor.LEARNER, cut_short=True))
    answered = []
    for talk in (cut, fresh):
        talk.silence(500)
        talk.voice(600)
        talk.silence(170)
        answered.append(of(Committed, talk.answers(0.9, "and family")) != [])
    assert answered == [True, False]


def test_more_speech_takes_back_the_speculation():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    (speculate,) = of(Speculate, talk.answers(0.5, "I like to cook."))
    (resumed,) = of(Resumed, talk.voice(200))
    assert resumed.pause == speculate.pause


def test_an_answer_about_an_older_pause_is_ignored():
    talk = session()
    talk.voice(1000)
    talk.silence(170)
    old = talk.pause
    talk.voice(500)
    talk.silence(170)
    assert talk.tell(TurnScore(old, 0.99)) == []
    assert talk.tell(PauseWords(old, "old words")) == []
    assert of(Committed, talk.silence(600)) == []


def test_a_turn_is_speculated_on_at_most_twice():
    talk = session()
    speculations = 0
    for _ in range(5):
        talk.voice(500)
        talk.silence(170)
        speculations += len(of(Speculate, talk.answers(0.6, "I like to cook")))
    assert speculations == MAX_SPECULATIONS


def test_a_speculation_that_was_refused_is_tried_again_and_counts_for_none():
    talk = session()
    for _ in range(3):
        talk.voice(500)
        talk.silence(170)
        (speculate,) = of(Speculate, talk.answers(0.6, "I like to cook"))
        talk.tell(SpeculationRefused(speculate.pause))
    talk.tell(SpeculationRefused(speculate.pause - 1))
    assert len(of(Speculate, talk.silence(400))) == 1
    assert of(Speculate, talk.silence(400)) == []


def test_a_learner_who_pauses_long_is_given_more_time():
    quick, slow = session(patience=0.0), session(patience=0.0)
    for _ in range(4):
        slow.voice(500)
        slow.silence(2800)
        slow.voice(500)
        slow.tell(UtteranceResolved(take=True))
    for talk in (quick, slow):
        talk.voice(1000)
        talk.silence(170)
        talk.answers(0.05, "I like cooking")
    assert slow.machine.typical_pause_ms > 2500
    assert of(Committed, quick.silence(1600)) != []
    assert of(Committed, slow.silence(1600)) == []


def test_patience_moves_the_end_of_the_turn():
    ends = []
    for patience in (0.0, 0.5, 1.0):
        talk = session(patience=patience)
        talk.voice(1000)
        talk.silence(170)
        effects = talk.answers(0.99, "I like to cook for my friends.") + talk.silence(2000)
        (committed,) = of(Committed, effects)
        index = effects.index(committed)
        ends.append(index)
        assert committed.start == 0
    assert ends == sorted(ends)


def test_push_to_talk_ends_by_the_button_alone():
    talk = session(push_to_talk=True)
    talk.voice(1000)
    talk.silence(170)
    talk.answers(0.99, "I like to cook.")
    assert of(Committed, talk.silence(5000)) == []
    assert of(Committed, talk.tell(EndRequested())) != []


def test_the_button_in_the_middle_of_a_word_pauses_then_commits():
    talk = session()
    talk.voice(1000)
    paused, committed = talk.tell(EndRequested())
    assert isinstance(paused, Paused)
    assert isinstance(committed, Committed)
    assert committed.pause == paused.pause


def test_the_button_without_speech_does_nothing():
    assert session().tell(EndRequested()) == []


def test_speech_under_the_tutors_floor_is_no_turn_until_it_is_taken():
    talk = session()
    talk.tell(FloorChanged(Floor.TUTOR))
    assert of(Started, talk.voice(500)) != []
    talk.silence(170)
    effects = talk.answers(0.99, "I have a question.") + talk.silence(4000)
    assert of(Committed, effects) == []
    assert of(Speculate, effects) == []
    assert of(Committed, talk.tell(UtteranceResolved(take=True))) != []


def test_a_dismissed_utterance_is_forgotten():
    talk = session()
    talk.tell(FloorChanged(Floor.TUTOR))
    talk.voice(300)
    assert of(Dropped, talk.tell(UtteranceResolved(take=False))) != []
    assert of(Committed, talk.silence(4000)) == []
    assert not talk.machine.is_speaking


def test_speech_that_outlives_the_reply_is_the_learners_turn():
    talk = session()
    talk.tell(FloorChanged(Floor.TUTOR))
    talk.voice(300)
    talk.tell(FloorChanged(Floor.LEARNER))
    talk.voice(500)
    talk.silence(170)
    assert of(Committed, talk.answers(0.99, "I see.") + talk.silence(300)) != []


def test_a_dismissal_never_forgets_the_learners_own_turn():
    talk = session()
    talk.voice(500)
    assert talk.tell(UtteranceResolved(take=False)) == []
    assert talk.machine.is_speaking


def test_the_tutor_has_the_floor_after_a_commit():
    talk = session()
    talk.voice(500)
    talk.tell(EndRequested())
    assert talk.machine.floor is Floor.TUTOR


def test_long_silence_is_told_once_and_only_while_the_learner_has_the_floor():
    talk = session()
    assert len(of(SilentLong, talk.silence(30_000))) == 1
    talk.tell(FloorChanged(Floor.TUTOR))
    assert of(SilentLong, talk.silence(30_000)) == []
    talk.tell(FloorChanged(Floor.LEARNER))
    assert of(SilentLong, talk.silence(5_000)) == []
    assert len(of(SilentLong, talk.silence(30_000))) == 1


def test_a_silence_is_counted_anew_when_the_learner_is_said_to_have_the_floor_still():
    talk = session()
    assert len(of(SilentLong, talk.silence(9_500))) == 1
    talk.tell(FloorChanged(Floor.LEARNER))
    assert of(SilentLong, talk.silence(8_000)) == []
    assert len(of(SilentLong, talk.silence(2_000))) == 1


def test_what_lies_before_the_first_sample_is_no_silence():
    """In an engine that took another's place the tutor gave a hint with the first sample."""
    begin = samples_of_ms(60_000)
    talk = Session(TurnTaking(TurnTakingPreferences(), begin), now=begin)
    assert of(SilentLong, talk.silence(8_000)) == []
    assert len(of(SilentLong, talk.silence(2_000))) == 1


def test_no_hints_means_none():
    assert session(no_hints=True).silence(60_000) == []


def test_a_turn_without_any_pause_ends_at_the_limit():
    talk = session()
    frame_ms = ms_of_samples(FRAME)
    assert of(Committed, talk.voice(DEFAULT_LIMITS.max_utterance_ms - frame_ms)) == []
    assert len(of(Committed, talk.voice(3 * frame_ms))) == 1


def test_a_pause_that_was_taken_for_the_end_is_learned_from():
    talk = session()
    talk.voice(1000)
    assert of(Committed, talk.silence(2800)) != []
    talk.tell(FloorChanged(Floor.LEARNER, cut_short=True))
    talk.voice(1000)
    assert talk.machine.typical_pause_ms > 2000
    assert of(Committed, talk.silence(2800)) == []


def committed(talk: Session) -> Session:
    """Have a turn said that is sure to be over."""
    talk.voice(1000)
    talk.silence(170)
    effects = talk.answers(0.99, "I like to cook for my friends.")
    assert of(Committed, effects + talk.silence(200)) != []
    return talk


def test_what_is_said_over_a_reply_is_learned_from_once_it_is_the_learners_turn():
    talk = committed(session())
    talk.silence(1_700)
    talk.voice(500)
    assert talk.machine.typical_pause_ms == 0
    talk.tell(UtteranceResolved(take=True))
    assert talk.machine.typical_pause_ms > 0


def test_a_mhm_or_an_echo_is_no_pause_to_learn_from():
    talk = session()
    for _ in range(8):
        committed(talk).silence(1_700)
        # As an echo does, it goes on after the stops between two sentences.
        for _ in range(3):
            talk.voice(300)
            talk.silence(600)
        talk.tell(UtteranceResolved(take=False))
        talk.silence(2_000)
        talk.tell(FloorChanged(Floor.LEARNER))
        talk.silence(300)
    assert talk.machine.typical_pause_ms == 0


def test_a_quick_answer_to_a_reply_that_was_heard_to_its_end_ends_no_pause():
    talk = session()
    for _ in range(8):
        committed(talk).silence(1_500)
        talk.tell(FloorChanged(Floor.LEARNER))
        talk.silence(250)
    assert talk.machine.typical_pause_ms == 0


def test_the_pauses_of_an_interruption_are_the_learners():
    talk = committed(session())
    talk.silence(3_000)
    talk.voice(500)
    talk.silence(1_900)
    talk.voice(500)
    assert talk.machine.typical_pause_ms == 0
    talk.tell(UtteranceResolved(take=True))
    assert talk.machine.typical_pause_ms > 0


def test_who_speaks_again_much_later_had_not_paused():
    talk = session()
    talk.voice(1000)
    talk.silence(2800)
    talk.tell(FloorChanged(Floor.LEARNER, cut_short=True))
    talk.silence(4000)
    talk.voice(1000)
    assert talk.machine.typical_pause_ms == 0


def test_a_long_turn_ends_at_a_breath_and_not_inside_a_word():
    talk = session()
    talk.voice(61_000)
    assert of(Committed, talk.silence(130) + talk.voice(300)) == []
    assert of(Committed, talk.silence(800)) != []


@pytest.mark.parametrize("pauses", [True, False])
def test_push_to_talk_has_the_limit_that_is_written_down(pauses: bool):
    talk = session(push_to_talk=True)
    effects = []
    for _ in range(100):
        effects += talk.voice(1000) + (talk.silence(1000) if pauses else [])
    assert len(of(Committed, effects)) >= 1


def test_nothing_is_decided_while_the_learner_may_be_starting_again():
    talk = session()
    talk.voice(1000)
    talk.silence(300)
    talk.voice(32)
    assert of(Committed, talk.answers(0.99, "I like to cook.")) == []


def test_what_is_being_said_when_the_tutor_takes_the_floor_waits_for_the_conversation():
    """A "mhm" beside what was typed cut off the answer to it."""
    talk = session()
    talk.voice(300)
    talk.tell(FloorChanged(Floor.TUTOR))
    assert of(Committed, talk.silence(3_000)) == []
    assert of(Dropped, talk.tell(UtteranceResolved(take=False))) == [Dropped(DropReason.DISMISSED)]
