"""How long a pause must last."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.endpointing import (
    Evidence,
    PauseEstimate,
    PausePolicy,
    finished_odds,
    pause_policy,
    wait_ms,
)
from services.ai.engine import TurnTakingPreferences

MIDDLE = pause_policy(0.5)


def wait(
    score: float,
    words: str = "I like to cook for my friends.",
    sentence_end: float | None = None,
    *,
    typical: int = 0,
    policy: PausePolicy = MIDDLE,
) -> int:
    return wait_ms(policy, Evidence((score,), words, sentence_end), typical)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_surer_score_never_waits_longer(patience: float, one: float, other: float):
    policy = pause_policy(patience)
    low, high = sorted((one, other))
    for words in ("I do.", "I like to cook.", "I like to cook", "My legs", ""):
        assert wait(high, words, policy=policy) <= wait(low, words, policy=policy)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_likelier_end_of_the_sentence_never_waits_longer(score: float, one: float, other: float):
    low, high = sorted((one, other))
    assert wait(score, sentence_end=high) <= wait(score, sentence_end=low)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_patience_never_waits_shorter(score: float, end: float, one: float, other: float):
    short, long = (pause_policy(patience) for patience in sorted((one, other)))
    for words in ("I do.", "I like to cook.", "I like to"):
        assert wait(score, words, end, policy=short) <= wait(score, words, end, policy=long)


def test_the_more_patience_the_surer_the_end_must_be_and_the_longer_the_waits():
    policies = [pause_policy(step / 16) for step in range(17)]
    for less, more in pairwise(policies):
        assert less.sure_odds < more.sure_odds
        assert less.unsure_ms < more.unsure_ms
        assert less.holding_ms < more.holding_ms
        assert less.sure_ms <= more.sure_ms


def test_the_default_answers_at_once_where_the_odds_are_those_of_many_ends():
    likely = Evidence((0.6,), "My friends and I play football.", 0.14)
    odds = finished_odds(likely)
    assert odds is not None
    assert 0.3 <= odds < 0.5
    default = pause_policy(TurnTakingPreferences().patience)
    assert wait_ms(default, likely, 0) == default.sure_ms
    assert wait_ms(pause_policy(0.75), likely, 0) > 800


@given(st.integers(0, 20_000))
def test_a_learners_pauses_move_only_unsure_waits_and_never_without_end(typical: int):
    assert wait(1.0, typical=typical) == MIDDLE.sure_ms
    assert MIDDLE.unsure_ms / 2 <= wait(0.0, "I do.", typical=typical) <= 5000


def test_who_pauses_long_is_waited_for_longer_and_who_pauses_briefly_is_answered_sooner():
    waits = [wait(0.1, "I went there.", typical=typical) for typical in (600, 0, 2800)]
    assert waits == sorted(waits)
    assert waits[0] < MIDDLE.unsure_ms
    assert waits[2] > 2800


def test_words_that_hold_the_floor_hold_it_at_least_as_long_as_the_setting_says():
    for typical in (0, 300, 3000):
        assert wait(0.99, "I went to the", 0.9, typical=typical) >= MIDDLE.holding_ms


@given(st.floats(0, 1), st.integers(0, 20_000))
def test_who_asks_for_time_gets_more_of_it_than_who_breaks_off(patience: float, typical: int):
    policy = pause_policy(patience)
    asked = wait(0.99, "Let me think.", 0.9, typical=typical, policy=policy)
    broken_off = wait(0.99, "I went to the", 0.9, typical=typical, policy=policy)
    assert asked > broken_off
    # The middle's is what a silence lasts before the tutor helps.
    assert wait(0.99, "Just a moment, please.") == 9_000


def test_the_more_words_the_sooner():
    words = "On Sundays I like to cook for friends.".split()
    waits = [wait(0.7, " ".join(words[-count:])) for count in range(3, 9)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] == MIDDLE.unsure_ms
    assert waits[-1] == MIDDLE.sure_ms


def test_a_sentence_that_cannot_end_there_is_waited_on_whatever_its_sound():
    assert wait(0.95, "Mike likes your blue jeans", 0.3) == MIDDLE.sure_ms
    assert wait(0.95, "Mike likes your blue", 0.001) > 1000


def test_a_sentence_that_may_well_end_there_is_answered_though_its_sound_is_in_doubt():
    assert wait(0.35, "Jack likes the science class") > 1500
    assert wait(0.35, "Jack likes the science class", 0.9) == MIDDLE.sure_ms


def test_a_second_score_counts_as_much_as_the_first():
    both = [Evidence(scores, "I like to cook for friends.") for scores in ((0.1, 0.9), (0.9, 0.1))]
    first, second = (wait_ms(MIDDLE, evidence, 0) for evidence in both)
    assert first == second
    assert wait(0.9) <= first <= wait(0.1)


def test_the_rest_of_a_turn_that_was_cut_is_no_short_one():
    rest = Evidence((0.8,), "to the market")
    whole = Evidence((0.8,), "to the market", said_before=5)
    assert wait_ms(MIDDLE, whole, 0) == MIDDLE.sure_ms < wait_ms(MIDDLE, rest, 0)


@pytest.mark.parametrize("words", ["Yes.", "No", "Thank you.", "I do.", "Um, yes.", "Sorry?"])
def test_a_short_answer_is_a_turn(words: str):
    assert wait(0.75, words) == MIDDLE.sure_ms


@pytest.mark.parametrize("words", ["My legs", "Jack likes.", "Peter", "Sorry."])
def test_a_fragment_is_waited_on(words: str):
    assert wait(0.9, words) > MIDDLE.sure_ms


def test_nothing_known_waits_as_if_unsure():
    for evidence in (Evidence(), Evidence((0.99,)), Evidence((), "I do."), Evidence((), "I do", 1)):
        assert finished_odds(evidence) is None
        assert wait_ms(MIDDLE, evidence, 0) == MIDDLE.unsure_ms


def test_the_pause_estimate_settles_above_most_pauses():
    estimate = PauseEstimate()
    for _ in range(50):
        for pause in (300, 400, 500, 600, 1000):
            estimate = estimate.with_pause(pause)
    assert 500 <= estimate.typical_ms <= 900


def test_the_silence_inside_a_word_is_no_pause_to_learn_from():
    estimate = PauseEstimate(600)
    for _ in range(100):
        estimate = estimate.with_pause(120)
    assert estimate.typical_ms == 600
