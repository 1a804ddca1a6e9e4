"""The model's thread: it stops at once, survives failures, and ends when told."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from services.ai.adapters.llama_cpp.quiet import Quiet
from services.ai.adapters.llama_cpp.sampling import Sampler
from services.ai.adapters.llama_cpp.scheduler import Job, Scheduler, Writing
from services.ai.adapters.llama_cpp.text import TextJoiner
from services.ai.adapters.llama_cpp.worker import Worker
from services.ai.capabilities import ProviderError
from tests.unit.ai.llama_cpp.fakes import FakeRuntime

LONG = 20.0
SPARE = 3


class Waited:
    """A job and its end."""

    def __init__(
        self, owner: str, prompt: list[int], *, ahead: bool = False, idle: bool = False
    ) -> None:
        self.text = ""
        self.error: ProviderError | None = None
        self.ended = threading.Event()
        sampler = Sampler(0.0, 1.0, random.Random(1))
        writing = None if ahead else Writing(sampler, 3, TextJoiner())
        place = SPARE if idle else None
        self.job = Job(
            owner, tuple(prompt), writing, self._add, self._end, sequence=place, idle=idle
        )

    def _add(self, piece: str) -> None:
        self.text += piece

    def _end(self, error: ProviderError | None) -> None:
        self.error = error
        self.ended.set()

    def wait(self) -> Waited:
        assert self.ended.wait(LONG)
        return self


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def worker(runtime: FakeRuntime) -> Iterator[Worker]:
    quiet = Quiet(lambda: runtime.busy, after_s=0)
    worker = Worker(runtime, Scheduler(runtime, 2, 400), lambda: runtime.free_threads, quiet)
    yield worker
    runtime.gate.set()
    worker.close()


def begin(worker: Worker, runtime: FakeRuntime, waited: Waited) -> None:
    """Submit a job, and let its first step run until it is stopped or the gate opens."""
    runtime.gate.clear()
    runtime.entered.clear()
    worker.submit(waited.job)
    assert runtime.entered.wait(LONG)


def test_a_reply_is_written(worker: Worker):
    waited = Waited("ann", [1, 2])
    worker.submit(waited.job)
    assert waited.wait().text == "<3><4><5>"


def test_every_step_takes_the_threads_that_are_free_then(worker: Worker, runtime: FakeRuntime):
    first, second = Waited("ann", [1, 2]), Waited("ann", [7])
    worker.submit(first.job)
    first.wait()
    runtime.free_threads = 1
    worker.submit(second.job)
    second.wait()
    assert runtime.used_threads == [2, 2, 2, 1, 1, 1]


def test_cancelling_stops_the_step_that_runs(worker: Worker, runtime: FakeRuntime):
    waited = Waited("ann", [1, 2])
    begin(worker, runtime, waited)
    worker.cancel(waited.job)
    assert worker.call(lambda: "free").result(LONG) == "free"
    assert runtime.steps == []
    assert not waited.ended.is_set()


def test_cancelling_one_of_two_stops_nothing(worker: Worker, runtime: FakeRuntime):
    first, second = Waited("ann", [1, 2]), Waited("bob", [5, 6])
    runtime.gate.clear()
    begin(worker, runtime, Waited("ann", [9], ahead=True))
    worker.submit(first.job)
    worker.submit(second.job)
    runtime.gate.set()
    second.wait()
    stops = runtime.stops
    worker.cancel(first.job)
    assert runtime.stops == stops


def test_what_is_read_ahead_gives_way_to_another_conversation(worker: Worker, runtime: FakeRuntime):
    ahead, reply = Waited("ann", [1, 2], ahead=True), Waited("bob", [5])
    begin(worker, runtime, ahead)
    worker.submit(reply.job)
    assert runtime.stops == 1
    runtime.gate.set()
    assert reply.wait().text == "<6><7><8>"
    ahead.wait()


def test_what_is_read_ahead_for_the_reply_itself_is_not_lost(worker: Worker, runtime: FakeRuntime):
    ahead, reply = Waited("ann", [1, 2], ahead=True), Waited("ann", [1, 2, 3])
    begin(worker, runtime, ahead)
    worker.cancel(ahead.job)
    worker.submit(reply.job)
    assert runtime.stops == 0
    runtime.gate.set()
    reply.wait()
    assert [len(piece.tokens) for piece in runtime.steps[1]] == [1]


@pytest.mark.parametrize("ahead", [False, True])
def test_idle_time_ends_the_moment_anything_else_is_to_do(
    worker: Worker, runtime: FakeRuntime, ahead: bool
):
    idle, other = Waited("nobody", [1, 2], idle=True), Waited("ann", [5], ahead=ahead)
    begin(worker, runtime, idle)
    worker.submit(other.job)
    assert runtime.stops == 1
    runtime.gate.set()
    other.wait()
    assert idle.wait().text == "<3><4><5>", "what was stopped goes on, and nothing of it is lost"
    assert [piece.sequence for step in runtime.steps for piece in step][-1] == SPARE


def test_idle_time_stops_nothing(worker: Worker, runtime: FakeRuntime):
    ahead, idle = Waited("ann", [1, 2], ahead=True), Waited("nobody", [7], idle=True)
    begin(worker, runtime, ahead)
    worker.submit(idle.job)
    assert runtime.stops == 0
    runtime.gate.set()
    assert idle.wait().text == "<8><9><10>"


def test_nothing_idle_is_done_while_somebody_is_listened_to(worker: Worker, runtime: FakeRuntime):
    quiet = Quiet(lambda: runtime.busy, lambda: 0.0, after_s=1e-9)
    runtime.busy = True
    held = Worker(runtime, Scheduler(runtime, 2, 400), lambda: 2, quiet)
    idle, reply = Waited("nobody", [1], idle=True), Waited("ann", [5])
    held.submit(idle.job)
    held.submit(reply.job)
    assert reply.wait().text == "<6><7><8>"
    assert not idle.ended.is_set()
    assert idle.text == ""
    held.close()
    assert idle.wait().error is not None


def test_idle_time_has_one_thread(worker: Worker, runtime: FakeRuntime):
    idle = Waited("nobody", [1], idle=True)
    worker.submit(idle.job)
    idle.wait()
    assert set(runtime.used_threads) == {1}


def test_cancelling_stops_what_is_done_in_idle_time(worker: Worker, runtime: FakeRuntime):
    idle = Waited("nobody", [1, 2], idle=True)
    begin(worker, runtime, idle)
    worker.cancel(idle.job)
    assert worker.call(lambda: "free").result(LONG) == "free"
    assert runtime.steps == []


def test_a_fault_ends_the_jobs_and_not_the_thread(worker: Worker, runtime: FakeRuntime):
    runtime.fault = RuntimeError("a bug")
    first, second = Waited("ann", [1]), Waited("ann", [1])
    worker.submit(first.job)
    error = first.wait().error
    assert error is not None
    assert error.retryable
    worker.submit(second.job)
    assert second.wait().error is None


def test_a_call_runs_on_the_models_thread(worker: Worker):
    name = worker.call(lambda: threading.current_thread().name).result(LONG)
    assert name == "language-model"


def test_a_calls_error_is_the_callers(worker: Worker):
    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        worker.call(fail).result(LONG)


def test_closing_stops_what_runs_and_tells_it(worker: Worker, runtime: FakeRuntime):
    waited = Waited("ann", [1, 2])
    begin(worker, runtime, waited)
    worker.close()
    assert waited.wait().error is not None
    with pytest.raises(ProviderError, match="closed"):
        worker.submit(Waited("ann", [1]).job)


def test_closing_twice_is_closing_once(worker: Worker):
    worker.close()
    worker.close()


def test_releasing_after_the_end_is_no_error(worker: Worker):
    worker.close()
    worker.release("ann")
