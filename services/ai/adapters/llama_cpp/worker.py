"""The thread that owns a model's context."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Protocol, TypeVar

import structlog

from services.ai.adapters.llama_cpp.quiet import Quiet
from services.ai.adapters.llama_cpp.scheduler import Job, Runtime, Scheduler, Step
from services.ai.capabilities import ProviderBusyError, ProviderError

_log = structlog.get_logger(__name__)

R = TypeVar("R")

# Jobs and calls that the thread has not looked at yet: it looks after every step, and an owner has
# one job that is not cancelled, so this many are never waiting unless the thread is stuck.
_MAX_WAITING = 256

# How often it is looked whether there is idle time, while something waits for that: more often than
# the shortest caption takes.
_LOOK_S = 0.04


class StoppableRuntime(Runtime, Protocol):
    """A runtime whose step can be stopped from another thread, and has threads of its own."""

    def use_threads(self, threads: int) -> None:
        """Run the steps from now on with so many threads."""

    def stop(self) -> None:
        """Have the step that runs now end within milliseconds."""

    def clear_stop(self) -> None:
        """Take ``stop`` back."""


class Worker:
    """Runs a scheduler's steps on a thread of its own, which sleeps when there are none.

    ``threads`` is asked before each step how many may compute it; idle time has one, and ``quiet``
    says when there is any.

    Full-policy: with too much waiting, the next job raises ``ProviderBusyError`` at once.
    """

    def __init__(
        self,
        runtime: StoppableRuntime,
        scheduler: Scheduler,
        threads: Callable[[], int],
        quiet: Quiet,
    ) -> None:
        self._runtime = runtime
        self._quiet = quiet
        self._threads = threads
        self._scheduler = scheduler
        # Guards what follows; never held while a step runs.
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running: Step | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="language-model", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Have ``job`` done. Raises ``ProviderBusyError``; after ``close``, ``ProviderError``."""
        with self._changed:
            self._put(lambda: self._scheduler.submit(job))
            # What runs ahead of need gives way, unless it is just what the job would do first.
            if job.idle:
                return
            self._quiet.stir()
            running = self._running
            if running is None:
                return
            if running.is_idle or not (job.is_ahead or self._scheduler.helps(running, job)):
                self._runtime.stop()

    def cancel(self, job: Job) -> None:
        """Leave ``job``; its callbacks are not called any more. A step for it alone is stopped.

        A prompt that is read ahead is let finish its step: the reply that follows begins with it.
        """
        with self._changed:
            job.cancelled = True
            running = self._running
            if running is None or job.is_ahead:
                return
            if all(each.cancelled for each, _ in running.parts):
                self._runtime.stop()

    def release(self, owner: Hashable) -> None:
        """Take ``owner``'s sequence back."""
        with self._changed:
            if not self._closed:
                self._waiting.append(lambda: self._scheduler.release(owner))
                self._changed.notify()

    def call(self, function: Callable[[], R]) -> Future[R]:
        """Run ``function`` on the thread, between two steps."""
        future: Future[R] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:  # noqa: BLE001 - it is the caller's
                    future.set_exception(error)

        with self._changed:
            self._put(run)
        return future

    def close(self) -> None:
        """Stop what runs, end every job with an error, and wait for the thread. Idempotent."""
        with self._changed:
            self._closed = True
            if self._running is not None:
                self._runtime.stop()
            self._changed.notify()
        self._thread.join()

    def _put(self, request: Callable[[], None]) -> None:
        if self._closed:
            raise ProviderError("the language model is closed", retryable=True)
        if len(self._waiting) >= _MAX_WAITING:
            raise ProviderBusyError("too much waits for the language model")
        self._waiting.append(request)
        self._changed.notify()

    def _run(self) -> None:
        while not self._closed:
            try:
                self._take_step()
            except Exception:  # noqa: BLE001 - whatever it is
                # One conversation's trouble must not take the model from all others.
                _log.exception("language_model_step_failed")
                self._scheduler.fail_all(ProviderError("the language model failed", retryable=True))
        self._do_waiting()
        self._scheduler.fail_all(ProviderError("the language model is closed", retryable=True))

    def _take_step(self) -> None:
        """Do what was asked, then a step; sleep when there is neither."""
        self._do_waiting()
        step = self._scheduler.plan()
        with self._changed:
            if step is None:
                if not self._waiting and not self._closed:
                    self._changed.wait()
                return
            if self._closed:
                return
            if step.is_idle and not self._quiet.reached():
                self._changed.wait(_LOOK_S)
                return
            self._running = step
            self._runtime.clear_stop()
        try:
            self._runtime.use_threads(1 if step.is_idle else self._threads())
            outcome = self._runtime.decode(step.slices)
        finally:
            with self._changed:
                self._running = None
        if not step.is_idle:
            self._quiet.stir()
        self._scheduler.finish(step, outcome)

    def _do_waiting(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    return
                request = self._waiting.popleft()
            request()
