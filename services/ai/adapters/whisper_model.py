"""Whisper (Radford et al. 2022, arXiv 2212.04356; MIT) on plain onnxruntime: audio to hypotheses.

The model was trained on windows of thirty seconds, silence behind what was said. A window as long
as what was said takes a quarter of the time, and hears single sentences as well; but it loses every
third word of two with a pause between them (docs/models.md). So it is thirty seconds unless the
caller knows better.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from services.ai.adapters.log_mel import log_mel
from services.ai.adapters.moonshine_model import read_score, read_vocabulary
from services.ai.adapters.onnx import open_session
from services.ai.capabilities import LEARNER_RATE_HZ

# Begin; English; write what is said; without times.
_PROMPT = (50258, 50259, 50359, 50363)
_END = 50257
# A text does not begin with a lone space, nor end before it has begun.
_NOT_FIRST = (220, _END)

WINDOW_SAMPLES = 30 * LEARNER_RATE_HZ
"""The longest window."""

# Fast speech has about five words a second, of a little more than a token each.
_TOKENS_PER_S = 8.0
_MIN_TOKENS = 12
_MAX_TOKENS = 224

Floats: TypeAlias = npt.NDArray[np.float32]
State: TypeAlias = dict[str, npt.NDArray[Any]]


class WhisperModel:
    """The int8 layout that ``parley_models`` makes: two graphs in ``folder``.

    Safe to call from several threads at once; each call runs in its caller's thread alone.
    """

    def __init__(self, folder: Path) -> None:
        self._encoder = open_session(folder / "encoder.int8.onnx")
        self._decoder = open_session(folder / "decoder.int8.onnx")
        self.vocabulary = read_vocabulary(folder / "tokenizer.bin")
        self._cross = [output.name for output in self._encoder.get_outputs()]
        outputs = [output.name for output in self._decoder.get_outputs()]
        self._outputs = outputs
        self._past = [name.replace("present", "past") for name in outputs[1:]]
        shapes = {each.name: each.shape for each in self._decoder.get_inputs()}
        self._empty: State = {
            name: np.zeros((1, shapes[name][1], 0, shapes[name][3]), np.float32)
            for name in self._past
        }

    def listen(self, samples: Floats, window: int = WINDOW_SAMPLES) -> WhisperListening:
        """Encode ``samples`` (16 kHz), with silence up to ``window``, at most thirty seconds.

        What is longer than that is cut.
        """
        window = min(window, WINDOW_SAMPLES)
        padded = np.zeros(window, np.float32)
        padded[: len(samples)] = samples[:window]
        outputs = self._encoder.run(None, {"mel": log_mel(padded)[None]})
        return WhisperListening(self, dict(zip(self._cross, outputs, strict=True)))

    def token_limit(self, samples: int) -> int:
        """Return how many tokens so many samples may have."""
        return min(_MAX_TOKENS, _MIN_TOKENS + int(samples / LEARNER_RATE_HZ * _TOKENS_PER_S))

    def run(self, ids: npt.NDArray[np.int64], past: State, cross: State) -> tuple[Floats, State]:
        """Decode ``ids`` [rows, new]; return their logits, and the past of what follows."""
        feed = {"input_ids": ids, **past, **cross}
        logits, *present = self._decoder.run(self._outputs, feed)
        return logits, dict(zip(self._past, present, strict=True))

    @property
    def nothing_yet(self) -> State:
        """The past of a first token."""
        return self._empty


class WhisperListening:
    """One audio, encoded. See ``beam_search.Decoder``."""

    def __init__(self, model: WhisperModel, cross: State) -> None:
        self._model = model
        self._cross = cross
        self._past: State = {}

    @property
    def end(self) -> int:
        """The end of a text."""
        return _END

    def begin(self) -> Floats:
        """Return the scores of what the text may begin with."""
        ids = np.array([_PROMPT], np.int64)
        logits, self._past = self._model.run(ids, self._model.nothing_yet, self._cross)
        row: Floats = logits[0, -1].copy()
        row[list(_NOT_FIRST)] = -np.inf
        return row

    def extend(self, parents: Sequence[int], tokens: Sequence[int]) -> Floats:
        """Return the scores of what may follow each of ``tokens``."""
        rows = list(parents)
        past = {name: value[rows] for name, value in self._past.items()}
        ids = np.array(tokens, np.int64)[:, None]
        logits, self._past = self._model.run(ids, past, self._cross)
        last: Floats = logits[:, -1]
        return last

    def score(self, text: Sequence[int]) -> float:
        """Return the log probability of ``text`` and of its end, in one pass."""
        ids = np.array([(*_PROMPT, *text)], np.int64)
        logits, _ = self._model.run(ids, self._model.nothing_yet, self._cross)
        rows = logits[0, len(_PROMPT) - 1 :]
        rows[0, list(_NOT_FIRST)] = -np.inf
        return read_score(rows, (*text, _END))
