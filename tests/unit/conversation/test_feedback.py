"""Feedback comes once, after its turn is stored, and is left out where nobody has the time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from parley.types.v1 import feedback_pb2, learner_pb2, speech_pb2, turn_pb2
from services.common.errors import ResourceExhausted
from services.conversation.feedback import MAX_UNDER_WAY, Assessments, TurnFeedback

ENGINE = "scripted"
FOUND = feedback_pb2.Feedback(corrections=[feedback_pb2.Correction(original="goed")])
NOTHING = feedback_pb2.Feedback()


def turn(number: int, said: str = "I goed home.") -> turn_pb2.Turn:
    utterance = speech_pb2.Transcript(verbatim=said)
    return turn_pb2.Turn(turn_id=f"turn {number}", number=number, utterance=utterance)


class Assessor:
    """Says `FOUND` of everything, once the test lets it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.answer: feedback_pb2.Feedback | Exception = FOUND
        self.gate = asyncio.Event()
        self.gate.set()

    async def assess(
        self,
        engine: str,
        utterance: speech_pb2.Transcript,
        profile: learner_pb2.LearnerProfile,
        user_id: str,
    ) -> feedback_pb2.Feedback:
        self.asked.append((engine, utterance.verbatim, user_id))
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Bench:
    """The feedback of one session."""

    def __init__(self) -> None:
        self.assessor = Assessor()
        self.tasks: set[asyncio.Task[None]] = set()
        self.assessments = Assessments(self.assessor, self.later)
        self.told: list[tuple[int, feedback_pb2.Feedback]] = []
        self.feedback = self.session()

    def session(self) -> TurnFeedback:
        profile = learner_pb2.LearnerProfile(display_name="Ana")
        return TurnFeedback(
            self.assessments,
            ENGINE,
            profile,
            "ana",
            lambda turn, feedback: self.told.append((turn.number, feedback)),
        )

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.create_task(work))

    async def settle(self) -> None:
        await asyncio.gather(*self.tasks)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_it_is_told_when_the_turn_is_stored_and_not_before(bench: Bench):
    bench.feedback.look_at(turn(1))
    await bench.settle()
    assert bench.told == []
    bench.feedback.stored(turn(1))
    assert bench.told == [(1, FOUND)]
    assert bench.assessor.asked == [(ENGINE, "I goed home.", "ana")]


async def test_it_is_told_at_once_when_it_comes_after_the_turn_was_stored(bench: Bench):
    bench.assessor.gate.clear()
    bench.feedback.look_at(turn(1))
    bench.feedback.stored(turn(1))
    assert bench.told == []
    bench.assessor.gate.set()
    await bench.settle()
    assert bench.told == [(1, FOUND)]


async def test_a_turn_is_looked_at_once(bench: Bench):
    for _ in range(3):
        bench.feedback.look_at(turn(1))
    await bench.settle()
    assert len(bench.assessor.asked) == 1


async def test_a_turn_without_an_utterance_is_not_looked_at(bench: Bench):
    bench.feedback.look_at(turn(1, ""))
    await bench.settle()
    assert not bench.assessor.asked


async def test_nothing_is_told_of_a_turn_that_is_right(bench: Bench):
    bench.assessor.answer = NOTHING
    bench.feedback.look_at(turn(1))
    bench.feedback.stored(turn(1))
    await bench.settle()
    assert bench.told == []


async def test_a_failure_is_no_feedback(bench: Bench):
    bench.assessor.answer = ResourceExhausted("It is full.", reason="AT_CAPACITY")
    bench.feedback.look_at(turn(1))
    bench.feedback.stored(turn(1))
    await bench.settle()
    assert bench.told == []
    bench.assessor.answer = FOUND
    bench.feedback.look_at(turn(2))
    bench.feedback.stored(turn(2))
    await bench.settle()
    assert bench.told == [(2, FOUND)]


async def test_one_utterance_too_many_is_left_out(bench: Bench):
    bench.assessor.gate.clear()
    for _ in range(MAX_UNDER_WAY + 5):
        bench.session().look_at(turn(1))
    await asyncio.sleep(0)
    assert len(bench.assessor.asked) == MAX_UNDER_WAY
    bench.assessor.gate.set()
    await bench.settle()
    bench.feedback.look_at(turn(1))
    bench.feedback.stored(turn(1))
    await bench.settle()
    assert bench.told == [(1, FOUND)]


async def test_feedback_of_turns_that_are_never_stored_is_forgotten(bench: Bench):
    for number in range(1, 40):
        bench.feedback.look_at(turn(number))
        await bench.settle()
    bench.feedback.stored(turn(1))
    assert bench.told == []
    bench.feedback.stored(turn(39))
    assert bench.told == [(39, FOUND)]
