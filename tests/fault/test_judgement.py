"""The judge of a bad day calls by its name what happened to a turn, and finds nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parley.conversation.v1 import conversation_pb2
from parley.types.v1 import speech_pb2, turn_pb2
from tests.e2e.told import COMPLETED, Ledger, Said, Told
from tests.fault.judgement import Wrong, judge

INTERRUPTED = turn_pb2.REPLY_END_REASON_INTERRUPTED
SAID = [
    Said(1, start_ms=1_000, end_ms=1_700),
    Said(2, text="This is number 2."),
    Said(3, start_ms=9_000, end_ms=9_700),
    # Nobody answered that one.
    Said(4, start_ms=17_000, end_ms=17_700),
    Said(5, start_ms=25_000, end_ms=25_700),
]
IN_TURNS = [SAID[0], SAID[1], SAID[2], SAID[4]]


def turn_of(said: Said, number: int) -> turn_pb2.Turn:
    """Return a whole turn, as history has it."""
    words = said.text or "I like to cook."
    source = turn_pb2.UTTERANCE_SOURCE_TEXT if said.text else turn_pb2.UTTERANCE_SOURCE_SPEECH
    return turn_pb2.Turn(
        turn_id=f"id-{number}",
        number=number,
        source=source,
        utterance=speech_pb2.Transcript(verbatim=words, clean=words),
        utterance_start_ms=max(0, said.start_ms - 40),
        utterance_end_ms=said.end_ms,
        reply_text="Tell me more.",
        heard_text="Tell me more.",
        reply_ms=900,
        heard_ms=900,
        reply_end_reason=COMPLETED,
        generation=10 + number,
    )


def told_of(kept: list[turn_pb2.Turn]) -> Ledger:
    """Return what a client is told of such turns."""
    ledger = Ledger()
    for turn in kept:
        about = {"turn": turn.number, "generation": turn.generation}
        transcript = conversation_pb2.TranscriptUpdate(
            transcript=turn.utterance,
            final=True,
            start_ms=turn.utterance_start_ms,
            end_ms=turn.utterance_end_ms,
        )
        ended = conversation_pb2.ReplyEnded(
            reason=turn.reply_end_reason, heard_text=turn.heard_text, heard_ms=turn.heard_ms
        )
        saved = conversation_pb2.TurnSaved(turn_id=turn.turn_id, number=turn.number)
        for response in (
            conversation_pb2.ConverseResponse(turn=turn.number, transcript=transcript),
            conversation_pb2.ConverseResponse(
                reply_started=conversation_pb2.ReplyStarted(), **about
            ),
            conversation_pb2.ConverseResponse(
                reply_text=conversation_pb2.ReplyText(text=turn.reply_text), **about
            ),
            conversation_pb2.ConverseResponse(reply_ended=ended, **about),
            conversation_pb2.ConverseResponse(turn_saved=saved),
        ):
            ledger.note(response)
    return ledger


def whole_talk() -> list[turn_pb2.Turn]:
    return [turn_of(said, number) for number, said in enumerate(IN_TURNS, 1)]


Kept = list[turn_pb2.Turn]


def none_of(kept: Kept) -> Kept:
    return []


def without_the_second(kept: Kept) -> Kept:
    return [kept[0], *kept[2:]]


def without_the_last(kept: Kept) -> Kept:
    return kept[:-1]


def one_utterance_twice(kept: Kept) -> Kept:
    """Under another id and the next number, the way a database with a constraint takes it."""
    again = turn_of(SAID[4], 5)
    return [*kept, again]


def one_text_twice(kept: Kept) -> Kept:
    return [*kept, turn_of(SAID[1], 5)]


def one_row_twice(kept: Kept) -> Kept:
    return [*kept, kept[-1]]


def one_id_twice(kept: Kept) -> Kept:
    kept[3].turn_id = kept[2].turn_id
    return kept


def two_numbers_exchanged(kept: Kept) -> Kept:
    kept[1].number, kept[2].number = 3, 2
    return [kept[0], kept[2], kept[1], kept[3]]


def in_another_order(kept: Kept) -> Kept:
    return [kept[1], kept[0], *kept[2:]]


def two_utterances_exchanged(kept: Kept) -> Kept:
    """Ids and numbers as they were acknowledged; what was said in them is not."""
    for field in ("utterance_start_ms", "utterance_end_ms"):
        one, other = getattr(kept[0], field), getattr(kept[2], field)
        setattr(kept[0], field, other)
        setattr(kept[2], field, one)
    return kept


def without_a_reply(kept: Kept) -> Kept:
    kept[2].reply_text = kept[2].heard_text = ""
    return kept


def without_an_utterance(kept: Kept) -> Kept:
    kept[2].utterance.Clear()
    return kept


def heard_in_part_undeclared(kept: Kept) -> Kept:
    kept[2].heard_text, kept[2].heard_ms = "Tell", 300
    return kept


def ended_for_no_reason(kept: Kept) -> Kept:
    kept[2].reply_end_reason = turn_pb2.REPLY_END_REASON_UNSPECIFIED
    return kept


def with_other_words(kept: Kept) -> Kept:
    kept[2].utterance.verbatim = "I like to cool."
    return kept


def with_another_reply(kept: Kept) -> Kept:
    kept[2].reply_text = kept[2].heard_text = "Tell me less."
    return kept


def heard_to_another_end(kept: Kept) -> Kept:
    kept[2].reply_ms = kept[2].heard_ms = 800
    return kept


def said_by_nobody(kept: Kept) -> Kept:
    kept[2].utterance_start_ms, kept[2].utterance_end_ms = 12_000, 12_700
    return kept


def test_nothing_is_wrong_with_a_whole_talk():
    kept = whole_talk()
    assert judge(SAID, told_of(kept).turns, kept) == []


@pytest.mark.parametrize(
    ("harm", "wrong", "numbers"),
    [
        (none_of, Wrong.MISSING, {1, 2, 3, 4}),
        (without_the_second, Wrong.MISSING, {2}),
        (without_the_last, Wrong.MISSING, {4}),
        (one_utterance_twice, Wrong.DOUBLED, {5}),
        (one_text_twice, Wrong.DOUBLED, {5}),
        (one_row_twice, Wrong.DOUBLED, {4}),
        (one_id_twice, Wrong.DOUBLED, {4}),
        (two_numbers_exchanged, Wrong.REORDERED, {2, 3}),
        (in_another_order, Wrong.REORDERED, {1}),
        (two_utterances_exchanged, Wrong.REORDERED, {2, 3}),
        (without_a_reply, Wrong.HALF, {3}),
        (without_an_utterance, Wrong.HALF, {3}),
        (heard_in_part_undeclared, Wrong.HALF, {3}),
        (ended_for_no_reason, Wrong.HALF, {3}),
        (with_other_words, Wrong.DIFFERENT, {3}),
        (with_another_reply, Wrong.DIFFERENT, {3}),
        (heard_to_another_end, Wrong.DIFFERENT, {3}),
        (said_by_nobody, Wrong.DIFFERENT, {3}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_became_of_a_turn_is_called_by_its_name(
    harm: Callable[[Kept], Kept], wrong: Wrong, numbers: set[int]
):
    told = told_of(whole_talk()).turns
    found = judge(SAID, told, harm(whole_talk()))
    assert {each.number for each in found if each.wrong is wrong} == numbers
    grave = {each.wrong for each in found} - {Wrong.DIFFERENT}
    # A turn that is half or exchanged also differs from what was told; and an id that another turn
    # took is missing in its own place.
    assert grave <= {wrong, Wrong.MISSING, Wrong.REORDERED}
    assert grave == {wrong} or wrong in (Wrong.DIFFERENT, Wrong.DOUBLED)


def test_a_reply_that_was_declared_broken_off_is_no_half_turn():
    kept = whole_talk()
    kept[2].heard_text, kept[2].heard_ms, kept[2].reply_end_reason = "Tell", 300, INTERRUPTED
    assert judge(SAID, told_of(kept).turns, kept) == []


def test_a_break_that_the_client_was_not_told_of_differs():
    told, kept = told_of(whole_talk()).turns, whole_talk()
    kept[2].heard_text, kept[2].heard_ms, kept[2].reply_end_reason = "Tell", 300, INTERRUPTED
    found = judge(SAID, told, kept)
    assert {(each.number, each.wrong) for each in found} == {(3, Wrong.DIFFERENT)}


def test_a_turn_whose_end_the_client_was_never_told_is_half():
    kept = whole_talk()
    ledger = told_of(kept)
    ledger.turns[3].ended = None
    found = judge(SAID, ledger.turns, kept)
    assert [(each.number, each.wrong) for each in found] == [(3, Wrong.HALF)]


def test_an_answer_begun_anew_takes_the_place_of_one_that_nobody_heard():
    kept = whole_talk()
    ledger = told_of(kept)
    started = conversation_pb2.ConverseResponse(
        turn=3, generation=99, reply_started=conversation_pb2.ReplyStarted()
    )
    ledger.note(started)
    assert (ledger.turns[3].generation, ledger.turns[3].reply) == (99, "")
    found = judge(SAID, ledger.turns, kept)
    assert {each.wrong for each in found} == {Wrong.DIFFERENT, Wrong.HALF}


def test_of_a_turn_whose_saving_was_not_told_only_what_was_told_has_to_be_so():
    kept = whole_talk()
    ledger = told_of(kept)
    ledger.turns[3] = Told(3, generation=13, reply="Tell")
    del ledger.turns[4]
    assert judge(SAID, ledger.turns, kept) == []
    ledger.turns[3].ended = conversation_pb2.ReplyEnded(reason=INTERRUPTED, heard_text="Tell")
    found = judge(SAID, ledger.turns, kept)
    assert {(each.number, each.wrong) for each in found} == {(3, Wrong.DIFFERENT)}


def hint(number: int) -> turn_pb2.Turn:
    turn = turn_of(SAID[4], number)
    turn.source = turn_pb2.UTTERANCE_SOURCE_NONE
    turn.utterance.Clear()
    turn.utterance_start_ms = turn.utterance_end_ms = 30_000
    return turn


def test_a_hint_answers_nothing_and_is_no_half_turn():
    kept = [*whole_talk(), hint(5)]
    ledger = told_of(kept)
    ledger.turns[5].kind = conversation_pb2.REPLY_KIND_HINT
    assert judge(SAID, ledger.turns, kept) == []


def test_a_turn_that_lost_its_utterance_does_not_pass_for_a_hint():
    kept = [*whole_talk()[:3], hint(4)]
    found = judge(SAID, told_of(whole_talk()).turns, kept)
    assert {(each.number, each.wrong) for each in found} == {(4, Wrong.HALF)}


def test_of_a_finding_the_turn_and_the_harm_are_said():
    (finding, *_) = judge(SAID, told_of(whole_talk()).turns, without_the_last(whole_talk()))
    assert str(finding) == "turn 4 is missing: it was acknowledged"
