"""Words that the engine heard again take the place of the first, once, while the turn goes on."""

from __future__ import annotations

from typing import Any

import pytest

from parley.types.v1 import turn_pb2
from services.conversation import events
from tests.unit.conversation.driving import Drive

FIRST = "I love for him."
BETTER = "I left her at home."
TEN = "one two three four five six seven eight nine ten"


def committed(drive: Drive, *, will_be_revised: bool = True) -> int:
    drive.generation += 1
    drive.engine(
        drive.generation,
        turn_committed={
            "source": turn_pb2.UTTERANCE_SOURCE_SPEECH,
            "transcript": {"verbatim": FIRST, "clean": FIRST},
            "start_ms": 100,
            "end_ms": 900,
            "will_be_revised": will_be_revised,
        },
    )
    drive.speak(TEN)
    drive.advance(1.15)
    return drive.generation


def revise(drive: Drive, generation: int, text: str = BETTER) -> list[Any]:
    return drive.engine(
        generation,
        transcript_revised={"transcript": {"verbatim": text, "clean": text, "recognizer": "ear"}},
    )


def stored(drive: Drive) -> turn_pb2.Turn:
    (saved,) = [each for each in drive.effects if isinstance(each, events.SaveTurn)]
    return saved.turn


def kept(effects: list[Any]) -> list[events.KeepTurn]:
    return [each for each in effects if isinstance(each, events.KeepTurn)]


def test_the_better_words_are_stored_and_shown():
    drive = Drive()
    generation = committed(drive)
    revise(drive, generation)
    drive.advance(5.0)
    assert stored(drive).utterance.verbatim == BETTER
    assert stored(drive).utterance.recognizer == "ear"
    shown = drive.sent("transcript")
    assert [(each.transcript.verbatim, each.final) for each in shown] == [
        (FIRST, True),
        (BETTER, True),
    ]
    assert (shown[-1].start_ms, shown[-1].end_ms) == (100, 900)


def test_a_new_engine_learns_the_better_words():
    drive = Drive()
    revise(drive, committed(drive))
    drive.advance(5.0)
    assert [turn.learner for turn in drive.session.context()] == [BETTER]


def test_they_are_kept_at_once_and_may_be_corrected_from_then_on():
    drive = Drive()
    generation = committed(drive)
    assert kept(drive.effects)
    assert all(each.awaits_words for each in kept(drive.effects))
    (now_kept,) = kept(revise(drive, generation))
    assert now_kept.turn.utterance.verbatim == BETTER
    assert not now_kept.awaits_words


def test_words_that_nobody_announced_change_nothing():
    drive = Drive()
    generation = committed(drive, will_be_revised=False)
    assert not any(each.awaits_words for each in kept(drive.effects))
    assert revise(drive, generation) == []
    drive.advance(5.0)
    assert stored(drive).utterance.verbatim == FIRST


@pytest.mark.parametrize("text", ["", " "])
def test_no_words_change_nothing(text: str):
    drive = Drive()
    generation = committed(drive)
    assert revise(drive, generation, text.strip()) == []
    drive.advance(5.0)
    assert stored(drive).utterance.verbatim == FIRST


def test_they_count_once():
    drive = Drive()
    generation = committed(drive)
    revise(drive, generation)
    assert revise(drive, generation, "Something else.") == []
    drive.advance(5.0)
    assert stored(drive).utterance.verbatim == BETTER


def test_they_come_too_late_for_a_turn_that_is_over():
    drive = Drive()
    generation = committed(drive)
    drive.advance(5.0)
    before = len(drive.effects)
    assert revise(drive, generation) == []
    assert len(drive.effects) == before
    assert stored(drive).utterance.verbatim == FIRST


def test_those_of_an_older_turn_do_not_touch_the_newer_one():
    drive = Drive()
    generation = committed(drive)
    drive.commit("And then I went to work.")
    assert revise(drive, generation) == []
    drive.speak("Good.")
    drive.advance(5.0)
    verbatim = [
        each.turn.utterance.verbatim for each in drive.effects if isinstance(each, events.SaveTurn)
    ]
    assert verbatim == [FIRST, "And then I went to work."]
