"""A language model of 100 tokens that counts: after token n comes n + 1."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from services.ai.adapters.llama_cpp.runtime import Outcome, Slice
from services.ai.adapters.llama_cpp.sampling import Logits

VOCABULARY = 100
END = 99


class FakeRuntime:
    """Keeps what each sequence holds, and refuses a slice that does not go on from it."""

    def __init__(self) -> None:
        self.steps: list[list[Slice]] = []
        self.held: dict[int, list[int]] = {}
        self.outcomes: list[Outcome] = []
        self.fault: Exception | None = None
        self.stops = 0
        self.free_threads = 2
        self.busy = False
        self.used_threads: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._stopped = threading.Event()
        self._rows: list[int] = []

    @property
    def evaluated(self) -> int:
        """Tokens in all steps together."""
        return sum(len(piece.tokens) for step in self.steps for piece in step)

    def decode(self, slices: Sequence[Slice]) -> Outcome:
        self.entered.set()
        while not self.gate.wait(0.001):
            if self._stopped.is_set():
                return Outcome.STOPPED
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self.steps.append(list(slices))
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome.DONE
        self._rows = [token for piece in slices for token in piece.tokens]
        for piece in slices:
            held = self.held.setdefault(piece.sequence, [])
            assert len(held) == piece.start
            assert piece.tokens
            if outcome is Outcome.DONE:
                held += piece.tokens
        return outcome

    def use_threads(self, threads: int) -> None:
        self.used_threads.append(threads)

    def logits(self, index: int) -> Logits:
        row = np.zeros(VOCABULARY, dtype=np.float32)
        row[self._rows[index] + 1] = 50.0
        return row

    def forget(self, sequence: int, start: int) -> None:
        del self.held.setdefault(sequence, [])[start:]

    def copy(self, source: int, target: int, count: int) -> None:
        assert not self.held.get(target)
        self.held[target] = self.held[source][:count]

    def is_end(self, token: int) -> bool:
        return token == END

    def piece(self, token: int) -> bytes:
        return f"<{token}>".encode()

    def stop(self) -> None:
        self.stops += 1
        self._stopped.set()

    def clear_stop(self) -> None:
        self._stopped.clear()
