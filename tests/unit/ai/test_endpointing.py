"""How long a pause must last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.endpointing import PauseEstimate, holds_floor, pause_policy, wait_ms

MIDDLE = pause_policy(0.5)


@pytest.mark.parametrize(
    "words",
    [
        "I went to the",
        "I like it because",
        "My name is",
        "Um",
        "I think, um",
        "Well, let me think.",
        "How do you say?",
        "I bought apples,",
        "I bought apples and...",
        "Wait a minute",
    ],
)
def test_words_that_promise_more_hold_the_floor(words: str):
    assert holds_floor(words)


@pytest.mark.parametrize(
    "words", ["", "I like to cook.", "Yes.", "I think so.", "This one is for you.", "Who is he?"]
)
def test_finished_words_do_not(words: str):
    assert not holds_floor(words)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_surer_score_never_waits_longer(patience: float, one: float, other: float):
    policy = pause_policy(patience)
    low, high = sorted((one, other))
    for words in ("I do.", "I like to cook.", "I like to cook", "My legs", ""):
        assert wait_ms(policy, high, words, 0) <= wait_ms(policy, low, words, 0)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_more_patience_never_waits_shorter(score: float, one: float, other: float):
    low, high = sorted((one, other))
    short, long = pause_policy(low), pause_policy(high)
    assert wait_ms(short, score, "I do.", 0) <= wait_ms(long, score, "I do.", 0)


@given(st.integers(0, 20_000))
def test_a_learners_pauses_move_only_unsure_waits_and_never_without_end(typical: int):
    assert wait_ms(MIDDLE, 1.0, "I do.", typical) == MIDDLE.sure_ms
    assert MIDDLE.unsure_ms / 2 <= wait_ms(MIDDLE, 0.0, "I do.", typical) <= 5000


def test_who_pauses_long_is_waited_for_longer_and_who_pauses_briefly_is_answered_sooner():
    waits = [wait_ms(MIDDLE, 0.1, "I went there.", typical) for typical in (600, 0, 2800)]
    assert waits == sorted(waits)
    assert waits[0] < MIDDLE.unsure_ms
    assert waits[2] > 2800


def test_words_that_hold_the_floor_hold_it_at_least_as_long_as_the_setting_says():
    for typical in (0, 300, 3000):
        assert wait_ms(MIDDLE, 0.1, "I went to the", typical) >= MIDDLE.holding_ms


def test_more_words_need_a_lower_score():
    score = 0.35
    assert wait_ms(MIDDLE, score, "I like to cook.", 0) == MIDDLE.unsure_ms
    assert wait_ms(MIDDLE, score, "I like to cook for friends.", 0) == MIDDLE.sure_ms
    assert wait_ms(MIDDLE, 0.25, "I like to cook for friends.", 0) == MIDDLE.unsure_ms
    assert wait_ms(MIDDLE, 0.25, "On Sundays I like to cook for friends.", 0) == MIDDLE.sure_ms


@pytest.mark.parametrize("words", ["Yes.", "No", "Thank you.", "Good morning!", "I do."])
def test_a_short_answer_is_a_turn(words: str):
    assert wait_ms(MIDDLE, 0.75, words, 0) == MIDDLE.sure_ms


@pytest.mark.parametrize("words", ["My legs", "Jack likes.", "Peter"])
def test_a_fragment_is_waited_on(words: str):
    assert wait_ms(MIDDLE, 0.95, words, 0) == MIDDLE.unsure_ms


def test_nothing_known_waits_as_if_unsure():
    assert wait_ms(MIDDLE, None, None, 0) == MIDDLE.unsure_ms
    assert wait_ms(MIDDLE, 0.99, None, 0) == MIDDLE.unsure_ms
    assert wait_ms(MIDDLE, None, "I do.", 0) == MIDDLE.unsure_ms


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
