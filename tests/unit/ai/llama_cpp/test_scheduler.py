"""Steps are short and fair, nothing is evaluated twice, and a failure stays with who met it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ai.adapters.llama_cpp.runtime import Outcome
from services.ai.adapters.llama_cpp.sampling import Sampler
from services.ai.adapters.llama_cpp.scheduler import (
    AHEAD_BESIDE_TOKENS,
    AHEAD_TOKENS,
    ALONE_TOKENS,
    IDLE_TOKENS,
    SHARED_STEP_TOKENS,
    Asked,
    Job,
    Scheduler,
    Writing,
)
from services.ai.adapters.llama_cpp.text import TextJoiner
from services.ai.capabilities import ProviderError
from tests.unit.ai.llama_cpp.fakes import END, FakeRuntime

CONTEXT = 400


@dataclass
class Told:
    """What a job told."""

    text: str = ""
    ends: list[ProviderError | None] = field(default_factory=list)

    def add(self, piece: str) -> None:
        self.text += piece


class Bench:
    """A scheduler over the fake, with three places."""

    def __init__(self) -> None:
        self.runtime = FakeRuntime()
        self.scheduler = Scheduler(self.runtime, 3, CONTEXT)
        self.told: dict[Job, Told] = {}

    def reply(
        self,
        owner: str,
        prompt: list[int],
        tokens: int = 3,
        stop: str = "",
        not_without: str = "",
    ) -> Job:
        sampler = Sampler(0.0, 1.0, random.Random(1))
        writing = Writing(sampler, tokens, TextJoiner((stop,) if stop else ()), not_without)
        return self._submit(owner, prompt, writing)

    def ahead(self, owner: str, prompt: list[int], sequence: int | None = None) -> Job:
        return self._submit(owner, prompt, None, sequence)

    def idle(self, prompt: list[int], tokens: int = 3) -> Job:
        sampler = Sampler(0.0, 1.0, random.Random(1))
        writing = Writing(sampler, tokens, TextJoiner())
        return self._submit("nobody", prompt, writing, self.scheduler.spare, idle=True)

    def _submit(
        self,
        owner: str,
        prompt: list[int],
        writing: Writing | None,
        sequence: int | None = None,
        *,
        idle: bool = False,
    ) -> Job:
        told = Told()
        job = Job(
            owner,
            tuple(prompt),
            writing,
            told.add,
            told.ends.append,
            sequence=sequence,
            idle=idle,
        )
        self.told[job] = told
        self.scheduler.submit(job)
        return job

    def step(self) -> list[int]:
        """Take a step; return how many tokens each slice of it had, empty when there was none."""
        step = self.scheduler.plan()
        if step is None:
            return []
        self.scheduler.finish(step, self.runtime.decode(step.slices))
        return [len(piece.tokens) for piece in step.slices]

    def run(self) -> None:
        while self.step():
            pass


@pytest.fixture
def bench() -> Bench:
    return Bench()


def some(count: int, first: int = 1) -> list[int]:
    """Return ``count`` tokens between 1 and 20."""
    return [first + index % 20 for index in range(count)]


def test_a_reply_is_its_prompts_continuation(bench: Bench):
    job = bench.reply("ann", [1, 2, 3])
    bench.run()
    assert bench.told[job].text == "<4><5><6>"
    assert bench.told[job].ends == [None]


def test_the_models_own_end_ends_a_reply(bench: Bench):
    job = bench.reply("ann", [END - 2], tokens=50)
    bench.run()
    assert bench.told[job].text == f"<{END - 1}>"


def test_an_end_before_what_is_wanted_is_passed_over_once(bench: Bench):
    lacking = bench.reply("ann", [END - 2], tokens=4, not_without="<1>")
    holding = bench.reply("bob", [END - 2], tokens=4, not_without=f"<{END - 1}>")
    bench.run()
    assert bench.told[lacking].text == f"<{END - 1}><0><1><2>"
    assert bench.told[holding].text == f"<{END - 1}>"


def test_a_second_end_ends_whatever_is_wanted(bench: Bench):
    job = bench.reply("ann", [END - 2], tokens=200, not_without="never")
    bench.run()
    assert bench.told[job].text.endswith(f"<{END - 1}>")
    assert bench.told[job].text.count(f"<{END - 1}>") == 2


def test_a_stop_string_ends_a_reply_without_any_part_of_it(bench: Bench):
    job = bench.reply("ann", [1], tokens=50, stop="<4><5>")
    bench.run()
    assert bench.told[job].text == "<2><3>"
    assert bench.told[job].ends == [None]


def test_a_reply_ends_where_its_context_does(bench: Bench):
    prompt = some(CONTEXT - 3)
    job = bench.reply("ann", prompt, tokens=50)
    bench.run()
    assert bench.told[job].text.count("<") == 3
    assert max(map(len, bench.runtime.held.values())) < CONTEXT


def test_a_prompt_alone_is_read_in_large_chunks(bench: Bench):
    bench.reply("ann", some(150))
    assert [bench.step() for _ in range(3)] == [[ALONE_TOKENS], [ALONE_TOKENS], [22]]


@pytest.mark.parametrize("position", [0, 70, 149])
def test_what_may_follow_a_word_of_the_prompt_is_told_once(bench: Bench, position: int):
    expected: list[int] = []
    for _ in range(2):  # the second time, all of the prompt is held already
        job = bench.reply("ann", some(150))
        job.asked = Asked(position, lambda logits: expected.append(int(logits.argmax())))
        bench.run()
        assert len(bench.told[job].text.split("><")) == 3
    assert expected == [some(150)[position] + 1] * 2


def test_a_cancelled_job_is_not_told_what_may_follow(bench: Bench):
    told: list[int] = []
    job = bench.reply("ann", some(20))
    job.asked = Asked(10, lambda logits: told.append(int(logits.argmax())))
    step = bench.scheduler.plan()
    assert step is not None
    job.cancelled = True
    bench.scheduler.finish(step, bench.runtime.decode(step.slices))
    assert told == []


def test_only_what_differs_from_the_turn_before_is_read(bench: Bench):
    bench.reply("ann", some(100))
    bench.run()
    before = bench.runtime.evaluated
    bench.reply("ann", [*some(90), 50, 51], tokens=1)
    bench.run()
    assert bench.runtime.evaluated - before == 2


def test_a_prompt_that_is_all_there_costs_one_token(bench: Bench):
    bench.ahead("ann", some(100))
    bench.run()
    before = bench.runtime.evaluated
    job = bench.reply("ann", some(100), tokens=1)
    bench.run()
    assert bench.runtime.evaluated - before == 1
    assert bench.told[job].text


def test_reading_ahead_writes_nothing(bench: Bench):
    job = bench.ahead("ann", some(40))
    bench.run()
    assert bench.told[job].text == ""
    assert bench.told[job].ends == [None]
    assert not any(piece.wants_logits for step in bench.runtime.steps for piece in step)


def test_reading_ahead_what_is_there_keeps_what_lies_beyond(bench: Bench):
    bench.ahead("ann", some(40))
    bench.run()
    job = bench.ahead("ann", some(30))
    assert bench.step() == []
    assert bench.told[job].ends == [None]
    assert bench.runtime.held[0] == some(40)


def test_reading_ahead_takes_small_steps(bench: Bench):
    bench.ahead("ann", some(40))
    assert bench.step() == [AHEAD_TOKENS]


def test_reading_ahead_waits_for_a_prompt_and_slows_no_writing(bench: Bench):
    bench.ahead("ann", some(40))
    bench.reply("bob", some(40, first=2))
    assert bench.step() == [SHARED_STEP_TOKENS]
    assert bench.step() == [8]
    assert bench.step() == [1, AHEAD_BESIDE_TOKENS]


def test_a_prompt_is_read_beside_what_is_written(bench: Bench):
    bench.reply("ann", [1], tokens=50)
    bench.step()
    bench.reply("bob", some(100))
    assert bench.step() == [1, SHARED_STEP_TOKENS]


def test_two_prompts_share_a_step_and_the_short_one_leaves_its_rest(bench: Bench):
    bench.reply("ann", some(100))
    bench.reply("bob", some(5, first=2))
    assert sorted(bench.step()) == [5, SHARED_STEP_TOKENS - 5]
    bench = Bench()
    bench.reply("ann", some(100))
    bench.reply("bob", some(100, first=2))
    assert bench.step() == [SHARED_STEP_TOKENS // 2] * 2


def test_a_beginning_that_all_share_is_read_once(bench: Bench):
    bench.ahead("model", some(50), sequence=bench.scheduler.shared)
    bench.run()
    before = bench.runtime.evaluated
    for owner in ("ann", "bob"):
        bench.reply(owner, [*some(50), 60], tokens=1)
        bench.run()
    assert bench.runtime.evaluated - before == 2


def test_reading_ahead_what_is_shared_costs_nothing(bench: Bench):
    bench.ahead("model", some(50), sequence=bench.scheduler.shared)
    bench.run()
    job = bench.ahead("ann", some(50))
    assert bench.step() == []
    assert bench.told[job].ends == [None]


def test_who_comes_back_finds_the_own_sequence(bench: Bench):
    bench.reply("ann", some(100))
    bench.reply("bob", some(100, first=5))
    bench.run()
    bench.scheduler.release("ann")
    bench.scheduler.release("bob")
    before = bench.runtime.evaluated
    bench.reply("bob again", [*some(100, first=5), 60], tokens=1)
    bench.run()
    assert bench.runtime.evaluated - before == 1


def test_a_cancelled_job_tells_nothing_and_its_tokens_stay(bench: Bench):
    job = bench.ahead("ann", some(40))
    step = bench.scheduler.plan()
    assert step is not None
    job.cancelled = True
    bench.scheduler.finish(step, bench.runtime.decode(step.slices))
    assert bench.told[job].ends == []
    before = bench.runtime.evaluated
    bench.reply("ann", some(41), tokens=1)
    bench.run()
    assert bench.runtime.evaluated - before == 41 - AHEAD_TOKENS


def test_a_stopped_step_is_as_if_it_had_not_been(bench: Bench):
    bench.runtime.outcomes = [Outcome.DONE, Outcome.STOPPED]
    job = bench.reply("ann", some(100), tokens=1)
    bench.run()
    assert bench.told[job].ends == [None]
    assert bench.runtime.held[0] == some(100)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.FULL])
def test_a_failed_step_ends_its_jobs_alone(bench: Bench, outcome: Outcome):
    job = bench.reply("ann", some(20))
    bench.runtime.outcomes = [outcome]
    bench.run()
    (error,) = bench.told[job].ends
    assert error is not None
    assert error.retryable
    again = bench.reply("ann", some(20), tokens=1)
    bench.run()
    assert bench.told[again].ends == [None]


def test_closing_a_conversation_ends_its_reply_with_an_error(bench: Bench):
    job = bench.reply("ann", some(20))
    bench.step()
    bench.scheduler.release("ann")
    (error,) = bench.told[job].ends
    assert error is not None
    assert bench.step() == []


def test_a_running_step_helps_who_begins_with_it(bench: Bench):
    bench.ahead("ann", some(40))
    step = bench.scheduler.plan()
    assert step is not None
    longer = Job("ann", tuple(some(60)), None, print, print)
    other = Job("ann", (9, *some(60)), None, print, print)
    stranger = Job("bob", tuple(some(60)), None, print, print)
    assert bench.scheduler.helps(step, longer)
    assert not bench.scheduler.helps(step, other)
    assert not bench.scheduler.helps(step, stranger)


def test_a_step_that_somebody_waits_for_is_left_alone(bench: Bench):
    bench.reply("ann", some(40))
    step = bench.scheduler.plan()
    assert step is not None
    assert bench.scheduler.helps(step, Job("bob", (1,), None, print, print))


prompts = st.lists(st.integers(1, 3), min_size=1, max_size=120)
actions: st.SearchStrategy[list[tuple[Any, Any, list[int]]]] = st.lists(
    st.one_of(
        st.tuples(st.just("reply"), st.sampled_from("abc"), prompts),
        st.tuples(st.just("ahead"), st.sampled_from("abc"), prompts),
        st.tuples(st.just("cancel"), st.sampled_from("abc"), st.just([])),
        st.tuples(st.just("release"), st.sampled_from("abc"), st.just([])),
        st.tuples(st.just("step"), st.sampled_from(list(Outcome)), st.just([])),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(actions)
def test_whatever_happens_the_cache_holds_what_the_scheduler_thinks(given_actions):
    """The fake refuses a slice that does not go on from what its sequence holds."""
    bench = Bench()
    live: dict[str, Job] = {}
    for action, what, prompt in given_actions:
        if action == "step":
            bench.runtime.outcomes = [what]
            bench.step()
        elif action == "release":
            bench.scheduler.release(what)
        else:
            if what in live:
                live.pop(what).cancelled = True
            if action == "reply":
                live[what] = bench.reply(what, prompt)
            elif action == "ahead":
                live[what] = bench.ahead(what, prompt)
    bench.runtime.outcomes = []
    bench.run()
    assert all(len(told.ends) <= 1 for told in bench.told.values())
    for job in live.values():
        assert len(bench.told[job].ends) == 1


def test_idle_time_takes_no_part_in_a_step_of_anything_else(bench: Bench):
    bench.idle(some(20))
    assert bench.step() == [IDLE_TOKENS]
    bench.ahead("ann", some(AHEAD_TOKENS))
    bench.reply("bob", some(ALONE_TOKENS), tokens=1)
    assert bench.step() == [SHARED_STEP_TOKENS]
    assert bench.step() == [SHARED_STEP_TOKENS]
    assert bench.step() == [AHEAD_TOKENS]
    assert bench.step() == [IDLE_TOKENS]


def test_a_reply_beside_idle_time_is_read_as_fast_as_alone(bench: Bench):
    bench.idle(some(20))
    bench.reply("ann", some(ALONE_TOKENS), tokens=1)
    assert bench.step() == [ALONE_TOKENS]


def test_what_is_done_in_idle_time_takes_no_conversations_place(bench: Bench):
    for owner in "abc":
        bench.reply(owner, some(5))
    job = bench.idle(some(20))
    bench.run()
    assert bench.told[job].ends == [None]
    assert bench.told[job].text == "<21><22><23>"


def test_idle_time_begins_with_what_its_place_holds(bench: Bench):
    bench.idle(some(40))
    bench.run()
    before = bench.runtime.evaluated
    job = bench.idle([*some(39), 20])
    bench.run()
    assert bench.told[job].ends == [None]
    assert bench.runtime.evaluated - before <= 4
