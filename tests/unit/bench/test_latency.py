"""What bench-latency says, which answers it counts, and what it says of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.latency import (
    Measured,
    chosen,
    missed_budgets,
    ratio_p50,
    reconciliation,
    summary,
    turn_fields,
    waits_of,
)
from bench.latency_stages import RECONCILED_MS, MeasuredTurn
from bench.live import RATE_HZ, REST_S, Answer, Reply, Turn
from bench.speech import Utterance
from parley.types.v1 import turn_pb2

SPEECH_END_MS = 3000


def reply(turn: int, sounds_after_s: float, *, ended: bool = False) -> Reply:
    at = 10.0 + sounds_after_s
    over = turn_pb2.REPLY_END_REASON_COMPLETED if ended else 0
    return Reply(turn, turn, 10.0, sounding_at=at, first_audio_at=at, ended=over)


def answer(wait_s: float | None, *, turns: int = 1) -> Answer:
    replies = [] if wait_s is None else [reply(1, wait_s)]
    each = [Turn(number, "words", 0, 0) for number in range(1, turns + 1)]
    return Answer(10.0, SPEECH_END_MS, turns=each, replies=replies)


def cut(*ends_ms: int, replies: list[Reply]) -> Answer:
    turns = [Turn(number, "words", 0, end_ms) for number, end_ms in enumerate(ends_ms, 1)]
    return Answer(10.0, SPEECH_END_MS, turns=turns, replies=replies)


def utterance(name: str, speech_s: float = 1.0) -> Utterance:
    random = np.random.default_rng(3)
    parts = [(0.3, 5), (speech_s, 4000), (0.5, 5)]
    sound = [random.normal(0, level, int(seconds * RATE_HZ)) for seconds, level in parts]
    return Utterance(name, np.concatenate(sound).astype(np.int16), "words", None)


def test_nothing_answered_is_an_error_not_a_zero():
    with pytest.raises(ValueError, match="no measurements"):
        summary([("a", answer(None))])


def test_an_unanswered_recording_is_counted_and_has_no_wait():
    said = [("a", answer(0.5)), ("b", answer(None))]
    assert waits_of(said) == [pytest.approx(500)]
    result = summary(said)
    assert (result["turns"], result["unanswered"], result["cut"]) == (1, 1, 0)
    assert result["p50_ms"] == pytest.approx(500)


def test_a_recording_that_was_cut_is_counted():
    assert summary([("a", answer(0.5, turns=2))])["cut"] == 1


def test_an_answer_to_the_first_part_of_a_recording_is_not_its_answer():
    """However late it sounds: words were said after the turn's end that it does not answer."""
    said = cut(1500, replies=[reply(1, 0.2)])
    assert said.reply is None
    assert said.unanswered == "only its first part was answered"
    assert said.was_cut
    whole = cut(1500, SPEECH_END_MS - 40, replies=[reply(1, -1.0), reply(2, 0.6)])
    assert whole.silence_ms == pytest.approx(600)
    assert (whole.unanswered, whole.was_cut) == ("", True)


@pytest.mark.parametrize("end_ms", [0, SPEECH_END_MS - 250, SPEECH_END_MS + 400])
def test_an_answer_to_a_turn_that_ends_where_the_recording_does_is_its_answer(end_ms: int):
    said = cut(end_ms, replies=[reply(1, 0.5)])
    assert said.silence_ms == pytest.approx(500)
    assert not said.was_cut


def test_each_recording_says_what_became_of_it():
    unheard = Answer(10.0, SPEECH_END_MS)
    assert turn_fields("a", unheard) == {
        "recording": "a",
        "voice_to_voice_ms": None,
        "cut": False,
        "unanswered": "nothing was recognised",
    }
    assert turn_fields("b", answer(None))["unanswered"] == "no reply was heard"
    answered = turn_fields("c", answer(0.5, turns=2))
    assert (answered["voice_to_voice_ms"], answered["cut"], answered["unanswered"]) == (
        500,
        True,
        "",
    )


def test_a_recording_that_was_answered_in_part_is_not_waited_for_as_long_as_one_without_answer():
    over = cut(1500, replies=[reply(1, 0.2, ended=True)])
    sounding = cut(1500, replies=[reply(1, 0.2)])
    for said, waited_s in ((over, REST_S), (sounding, 60.0), (Answer(10.0, 0.0), 60.0)):
        assert not said.is_given_up(10.0 + waited_s, 60.0)
        assert said.is_given_up(10.1 + waited_s, 60.0)


def test_without_a_recording_of_certain_end_nothing_is_measured():
    with pytest.raises(ValueError, match="certain"):
        chosen([utterance("a")], lambda _: None, 0)


def test_recordings_of_uncertain_end_are_not_said_and_the_others_make_forty_turns():
    ends = {"long": 3.0, "sure": 1.0}
    utterances = [utterance(name, speech_s) for name, speech_s in ends.items()]
    said = chosen(utterances, lambda _: int(1.3 * RATE_HZ), 0)
    assert [each.name for each in said] == ["sure"] * 40
    assert len(chosen([utterance("sure")] * 42, lambda _: int(1.3 * RATE_HZ), 0)) == 42
    assert len(chosen(utterances, lambda _: int(1.3 * RATE_HZ), 3)) == 3


def test_stages_that_do_not_add_up_are_told_and_more_than_one_in_ten_is_a_failure():
    good = MeasuredTurn("good", 500.0, {"endpoint": 500.0, "unaccounted": -RECONCILED_MS})
    bad = MeasuredTurn("bad", 500.0, {"endpoint": 460.0, "unaccounted": RECONCILED_MS + 1})
    assert reconciliation([good] * 9) == (True, [])
    assert reconciliation([good] * 9 + [bad]) == (True, ["bad"])
    assert reconciliation([good] * 8 + [bad, bad]) == (False, ["bad", "bad"])


def test_the_ratio_is_of_the_recordings_that_both_answered():
    """The slow ones are those that the one system answers and the other does not."""
    parley = [("a", answer(0.5)), ("b", answer(None)), ("c", answer(3.0)), ("a", answer(0.7))]
    pipecat = [("a", answer(1.0)), ("b", answer(9.0)), ("c", answer(None)), ("a", answer(1.4))]
    assert ratio_p50(Measured(parley, pipecat)) == pytest.approx(0.5)


def test_without_a_recording_that_both_answered_there_is_no_ratio():
    with pytest.raises(ValueError, match="no measurements"):
        ratio_p50(Measured([("a", answer(0.5))], [("a", answer(None))]))


def system(
    p50_ms: float = 900.0, *, said: int = 42, unanswered: int = 0, cut: int = 0
) -> dict[str, Any]:
    turns = said - unanswered
    return {
        "p50_ms": p50_ms,
        "said": said,
        "turns": turns,
        "unanswered": unanswered,
        "cut": cut,
    }


def result(**changes: Any) -> dict[str, Any]:
    kept = {
        "preset": "default",
        "parley": system(cut=5),
        "pipecat": system(1500.0, cut=5),
        "ratio_p50": 0.6,
        "reconciled": True,
    }
    return kept | changes


def test_budgets_that_are_just_kept_are_kept():
    assert missed_budgets(result()) == []
    assert missed_budgets(result(preset="light", parley=system(600.0))) == []
    assert missed_budgets(result(parley=system(unanswered=2))) == []
    assert missed_budgets(result(parley=system(said=100, unanswered=5))) == []
    # So few were asked for.
    assert missed_budgets(result(parley=system(said=20, unanswered=1))) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"parley": system(901.0)},
        {"preset": "light", "parley": system(601.0)},
        {"parley": system(said=40, unanswered=1)},
        {"parley": system(said=100, unanswered=6)},
        {"parley": system(said=20, unanswered=2)},
        {"parley": system(cut=6)},
        {"ratio_p50": 0.601},
        {"reconciled": False},
    ],
)
def test_a_missed_budget_is_said(changes: dict[str, Any]):
    assert len(missed_budgets(result(**changes))) == 1


def test_a_fast_median_of_the_few_that_were_answered_passes_nothing():
    few = result(
        parley=system(500.0, said=40, unanswered=37, cut=3), pipecat=system(1200.0, said=40)
    )
    assert len(missed_budgets(few)) == 3


def test_models_without_a_budget_are_compared_with_pipecat_alone():
    mine = result(preset="test", parley=system(5000.0))
    assert missed_budgets(mine) == []
    del mine["ratio_p50"], mine["pipecat"]
    assert missed_budgets(mine) == []
