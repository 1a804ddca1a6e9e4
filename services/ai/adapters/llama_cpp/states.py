"""Evaluated prompts on disk: what all conversations begin with is evaluated once in its life.

Reading 400 tokens back takes milliseconds, evaluating them takes seconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

_SUFFIX = ".state"


class StatefulRuntime(Protocol):
    """What can write a sequence's cache to a file and read it back."""

    def save(self, sequence: int, tokens: Sequence[int], path: Path) -> bool:
        """Write what the sequence holds; return whether that worked."""

    def restore(self, sequence: int, capacity: int, path: Path) -> tuple[int, ...] | None:
        """Read a file into the sequence; return its tokens, None if it does not fit."""


class SavedStates:
    """The saved prompts of one model, of one release of llama.cpp, in ``folder``.

    Blocking; on the context's thread.
    """

    def __init__(self, folder: Path, model: Path, release: str) -> None:
        self._folder = folder
        self._model = model
        self._release = release

    def restore(self, runtime: StatefulRuntime, sequence: int, tokens: Sequence[int]) -> bool:
        """Read the evaluated ``tokens`` into ``sequence``; return whether they were there.

        A file that cannot be read is as good as none.
        """
        path = self._path(tokens)
        return path.is_file() and runtime.restore(sequence, len(tokens), path) == tuple(tokens)

    def save(self, runtime: StatefulRuntime, sequence: int, tokens: Sequence[int]) -> None:
        """Write ``sequence``, which holds ``tokens``, in place of what was saved before.

        A disk that is full costs the next start some seconds, no more.
        """
        path = self._path(tokens)
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            # One prompt is shared at a time; an older version's file would lie there for ever.
            # ".slot" is what an earlier runtime left.
            for old in [*self._folder.glob(f"*{_SUFFIX}"), *self._folder.glob("*.slot")]:
                old.unlink(missing_ok=True)
            unfinished = path.with_suffix(".part")
            if runtime.save(sequence, tokens, unfinished):
                unfinished.replace(path)
            else:
                unfinished.unlink(missing_ok=True)

    def _path(self, tokens: Sequence[int]) -> Path:
        # A cache of another model or of another release must never be read.
        stat = self._model.stat()
        parts = [self._release, self._model.name, stat.st_size, stat.st_mtime_ns, list(tokens)]
        return self._folder / (hashlib.sha256(json.dumps(parts).encode()).hexdigest() + _SUFFIX)
