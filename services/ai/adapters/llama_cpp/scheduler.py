"""Decides what the next step of the model evaluates, and what became of the last one.

Continuous batching: a step is one pass over the weights with a token of every reply that is being
written, and beside them a chunk of the prompts that are being read. So conversations share the
model without waiting for each other's ends. What is read ahead of need yields to what somebody
waits for, and what is done in idle time to everything.

Single-threaded and without a clock; `worker` gives it a thread. Only ``Job.cancelled`` may be set
from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from services.ai.adapters.llama_cpp.runtime import Outcome, Slice
from services.ai.adapters.llama_cpp.sampling import REPEAT_LAST_TOKENS, Logits, Sampler
from services.ai.adapters.llama_cpp.text import TextJoiner
from services.ai.capabilities import ProviderError

# Prompt tokens in a step, on two cores with the 1.5B model: 64 take 500 ms, 32 270 ms, 16 145 ms,
# 4 beside a written one 75 ms where that one alone takes 30. Larger chunks gain little.
ALONE_TOKENS = 64
SHARED_STEP_TOKENS = 32
# Ahead of need small chunks: what is stopped for a reply in their middle is lost.
AHEAD_TOKENS = 16
AHEAD_BESIDE_TOKENS = 4
# In idle time smaller ones yet, for it has one thread, and speech may begin at any moment.
IDLE_TOKENS = 8


class Runtime(Protocol):
    """What the scheduler needs of a model."""

    def decode(self, slices: Sequence[Slice]) -> Outcome:
        """Evaluate ``slices``."""

    def logits(self, index: int) -> Logits:
        """Return the logits after the ``index``-th token of the last step."""

    def forget(self, sequence: int, start: int) -> None:
        """Drop what ``sequence`` holds from position ``start`` on."""

    def copy(self, source: int, target: int, count: int) -> None:
        """Let ``target`` share the first positions of ``source``."""

    def is_end(self, token: int) -> bool:
        """Whether ``token`` ends what the model has to say."""

    def piece(self, token: int) -> bytes:
        """Return the bytes that ``token`` stands for."""


@dataclass(slots=True)
class Writing:
    """How a reply is written. ``max_tokens`` is at least 1.

    The first end that the model comes to before the reply holds ``not_without`` is passed over.
    """

    sampler: Sampler
    max_tokens: int
    joiner: TextJoiner
    not_without: str = ""
    written: int = 0
    next_token: int | None = None
    text: str = ""

    def passes_over_end(self) -> bool:
        """Whether the reply goes on where it would end; true at most once."""
        wanted, self.not_without = self.not_without, ""
        return bool(wanted) and wanted not in self.text


@dataclass(frozen=True, slots=True)
class Asked:
    """What may follow the prompt's token at ``position`` is asked for beside the reply.

    ``tell`` gets the logits, to read before it returns.
    """

    position: int
    tell: Callable[[Logits], None]


@dataclass(slots=True, eq=False)
class Job:
    """Have ``prompt`` evaluated for ``owner``, and a reply written unless ``writing`` is None.

    ``on_text`` gets pieces of the reply, ``on_end`` once the error or None; a cancelled job tells
    nothing more. Both are called on the scheduler's thread and must not block.

    ``idle``: it goes on only while the model has nothing else to do.
    """

    owner: Hashable
    prompt: tuple[int, ...]
    writing: Writing | None
    on_text: Callable[[str], None]
    on_end: Callable[[ProviderError | None], None]
    cancelled: bool = False
    sequence: int | None = None
    begun: bool = False
    asked: Asked | None = None
    idle: bool = False

    @property
    def is_ahead(self) -> bool:
        """Whether it is read ahead of need: nothing is written, and nobody waits for it."""
        return self.writing is None

    @property
    def is_awaited(self) -> bool:
        """Whether a learner waits for it."""
        return not self.is_ahead and not self.idle


@dataclass(slots=True)
class Step:
    """One pass over the weights: each job with its slice."""

    parts: list[tuple[Job, Slice]] = field(default_factory=list)

    @property
    def slices(self) -> list[Slice]:
        """What is evaluated."""
        return [piece for _, piece in self.parts]

    @property
    def is_idle(self) -> bool:
        """Whether it is made of what gives way to everything."""
        return all(job.idle for job, _ in self.parts)


class Scheduler:
    """The jobs of one model.

    Args:
        places: how many owners hold a sequence at once.
        context_tokens: what one sequence may hold.

    ``evaluated_tokens`` counts what went through the model, of all jobs together.

    Sequences are numbered from 0; the one after the last place, ``shared``, holds a prompt's
    beginning from which any sequence may begin; the next, ``spare``, is for idle time.
    """

    def __init__(self, runtime: Runtime, places: int, context_tokens: int) -> None:
        self._runtime = runtime
        self._context_tokens = context_tokens
        self.shared = places
        self.spare = places + 1
        self.evaluated_tokens = 0
        self._held: list[list[int]] = [[] for _ in range(places + 2)]
        self._owners: dict[Hashable, int] = {}
        self._jobs: list[Job] = []

    # --- what is asked --------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Take a job; it begins with the next step."""
        self._jobs.append(job)

    def release(self, owner: Hashable) -> None:
        """Take ``owner``'s sequence back. What it holds stays, for who begins with the same."""
        for job in [job for job in self._jobs if job.owner == owner]:
            self._end(job, ProviderError("the conversation was closed", retryable=False))
        self._owners.pop(owner, None)

    def restored(self, sequence: int, tokens: Sequence[int]) -> None:
        """Know that ``sequence`` now holds ``tokens``."""
        self._held[sequence] = list(tokens)

    def fail_all(self, error: ProviderError) -> None:
        """End every job with ``error``, and trust nothing that the cache holds."""
        for job in list(self._jobs):
            self._end(job, error)
        for sequence, held in enumerate(self._held):
            self._runtime.forget(sequence, 0)
            held.clear()

    # --- a step ---------------------------------------------------------------------------------

    def plan(self) -> Step | None:
        """Return what to evaluate next, None when there is nothing."""
        self._jobs = [job for job in self._jobs if not job.cancelled]
        for job in list(self._jobs):
            if not job.begun:
                self._begin(job)
        step = Step()
        reading: list[Job] = []
        ahead: list[Job] = []
        idle: list[Job] = []
        for job in self._jobs:
            if job.idle:
                idle.append(job)
            elif job.writing is None:
                ahead.append(job)
            elif job.writing.next_token is None:
                reading.append(job)
            else:
                self._add(step, job, (job.writing.next_token,))
        writing = bool(step.parts)
        if reading:
            alone = len(self._jobs) - len(idle) == 1
            self._share(step, reading, ALONE_TOKENS if alone else SHARED_STEP_TOKENS)
        elif ahead:
            self._share(step, ahead, AHEAD_BESIDE_TOKENS if writing else AHEAD_TOKENS)
        elif idle and not writing:
            self._go_on(step, idle[0])
        return step if step.parts else None

    def helps(self, step: Step, job: Job) -> bool:
        """Whether ``step``, which runs now, evaluates what the new ``job`` waits for anyway.

        True as well when somebody waits for the step itself.
        """
        for running, piece in step.parts:
            if running.is_awaited and not running.cancelled:
                return True
            if running.owner == job.owner:
                held = [*self._held[piece.sequence][: piece.start], *piece.tokens]
                if list(job.prompt[: len(held)]) == held:
                    return True
        return False

    def finish(self, step: Step, outcome: Outcome) -> None:
        """Take in how ``step`` ended."""
        if outcome is Outcome.DONE:
            last = -1
            for job, piece in step.parts:
                first, last = last + 1, last + len(piece.tokens)
                self.evaluated_tokens += len(piece.tokens)
                self._held[piece.sequence].extend(piece.tokens)
                if job.asked is not None and piece.also_after is not None and not job.cancelled:
                    job.asked.tell(self._runtime.logits(first + piece.also_after))
                if not job.cancelled:
                    self._advance(job, last if piece.wants_logits else None)
            return
        for job, piece in step.parts:
            if outcome is Outcome.STOPPED:
                self._runtime.forget(piece.sequence, len(self._held[piece.sequence]))
                continue
            # What the cache holds after a failure is not worth trusting.
            self._runtime.forget(piece.sequence, 0)
            self._held[piece.sequence].clear()
            reason = "has no room left" if outcome is Outcome.FULL else "failed"
            self._end(job, ProviderError(f"the language model {reason}", retryable=True))

    # --- inside ---------------------------------------------------------------------------------

    def _begin(self, job: Job) -> None:
        """Let the job's sequence hold of its prompt what is evaluated already, and nothing else."""
        job.begun = True
        if job.sequence is None:
            job.sequence = self._sequence_of(job)
        target = job.sequence
        held, shared = self._held[target], self._held[self.shared]
        # What may follow the last token is known only once that token is evaluated.
        usable = len(job.prompt) - (0 if job.is_ahead else 1)
        if job.asked is not None:
            usable = min(usable, job.asked.position)
        own = min(_common(held, job.prompt), usable)
        borrowed = min(_common(shared, job.prompt), usable)
        if own == len(job.prompt):
            self._end(job, None)  # and what the sequence holds beyond it may be of use yet
        elif borrowed > own:
            self._runtime.forget(target, 0)
            self._runtime.copy(self.shared, target, borrowed)
            self._held[target] = shared[:borrowed]
            if borrowed == len(job.prompt):
                self._end(job, None)
        else:
            self._runtime.forget(target, own)
            del held[own:]

    def _sequence_of(self, job: Job) -> int:
        """Return the owner's sequence, or the free one that holds most of the job's prompt."""
        if job.owner not in self._owners:
            free = set(range(self.shared)) - set(self._owners.values())
            self._owners[job.owner] = max(
                sorted(free), key=lambda sequence: _common(self._held[sequence], job.prompt)
            )
        return self._owners[job.owner]

    def _go_on(self, step: Step, job: Job) -> None:
        """Do a little of a job that nobody waits for."""
        token = None if job.writing is None else job.writing.next_token
        if token is None:
            self._share(step, [job], IDLE_TOKENS)
        else:
            self._add(step, job, (token,))

    def _share(self, step: Step, jobs: Sequence[Job], tokens: int) -> None:
        """Give the jobs equal parts of ``tokens``; what one does not need, the others get."""
        left = {job: len(job.prompt) - len(self._held_by(job)) for job in jobs}
        for index, job in enumerate(sorted(jobs, key=lambda job: left[job])):
            part = min(left[job], max(1, tokens // (len(jobs) - index)))
            tokens = max(0, tokens - part)
            start = len(self._held_by(job))
            self._add(step, job, job.prompt[start : start + part])

    def _add(self, step: Step, job: Job, tokens: tuple[int, ...]) -> None:
        assert job.sequence is not None
        start = len(self._held_by(job))
        is_last = start + len(tokens) >= len(job.prompt)
        also = None if job.asked is None else job.asked.position - start
        if also is not None and not 0 <= also < len(tokens):
            also = None
        step.parts.append(
            (job, Slice(job.sequence, start, tokens, is_last and not job.is_ahead, also))
        )

    def _advance(self, job: Job, logits_index: int | None) -> None:
        """Go on with a job of which tokens were evaluated."""
        held, writing = self._held_by(job), job.writing
        if writing is None:
            if len(held) >= len(job.prompt):
                self._end(job, None)
            return
        if logits_index is None:
            return
        recent = held[-REPEAT_LAST_TOKENS:]
        logits = self._runtime.logits(logits_index)
        token = writing.sampler.choose(logits, recent)
        if self._runtime.is_end(token) and writing.passes_over_end():
            logits[token] = -np.inf
            token = writing.sampler.choose(logits, recent)
        writing.written += 1
        if self._runtime.is_end(token):
            self._finish_text(job, writing)
            return
        text = writing.joiner.add(self._runtime.piece(token))
        writing.text += text
        self._tell(job, text)
        is_full = len(held) + 1 >= self._context_tokens
        if writing.joiner.stopped or writing.written >= writing.max_tokens or is_full:
            self._finish_text(job, writing)
        else:
            writing.next_token = token

    def _finish_text(self, job: Job, writing: Writing) -> None:
        self._tell(job, writing.joiner.end())
        self._end(job, None)

    def _tell(self, job: Job, text: str) -> None:
        if text and not job.cancelled:
            job.on_text(text)

    def _end(self, job: Job, error: ProviderError | None) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            if not job.cancelled:
                job.on_end(error)

    def _held_by(self, job: Job) -> list[int]:
        assert job.sequence is not None
        return self._held[job.sequence]


def _common(held: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many tokens the two have in common at the beginning."""
    count = 0
    for one, other in zip(held, prompt, strict=False):
        if one != other:
            break
        count += 1
    return count
