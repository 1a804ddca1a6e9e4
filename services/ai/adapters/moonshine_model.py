"""Moonshine (Jeffries et al. 2024, arXiv 2410.15608; MIT) on plain onnxruntime: audio to tokens.

Two layouts of the same model are read. The published one (``MergedMoonshine``) has a decoder whose
first step and later steps share a graph. The folded one (``FoldedMoonshine``), which
``parley_models`` makes at install time, has them apart, weights in int8: four times as fast on
the base size, because nothing is dequantised at every token.

A growing utterance is decoded again and again, and each result is mostly the last one and a few
words more. So a result serves the next call as its draft: one pass of the decoder verifies all of
it, as in speculative decoding (Leviathan et al. 2023, arXiv 2211.17192) with the past as the
drafter. Of 4.5 s of speech that takes about 60 ms on one core instead of 150 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from services.ai.adapters.onnx import open_session
from services.ai.capabilities import LEARNER_RATE_HZ

_START, _END = 1, 2

# Moonshine was trained on at most 6.5 tokens a second of audio (paper, section 3.2): a longer
# output is a loop. The floor lets a half-second "yes" be spelt.
_TOKENS_PER_S = 6.5
_MIN_TOKENS = 6
# Shorter audio does not fill the encoder's strided convolutions.
MIN_SAMPLES = LEARNER_RATE_HZ // 10
# The decoder ends some audio at once that is full of words, most of all with a pause in it: whole
# turns of 14 s came out empty, and the learner got no answer. So long a stretch says something.
_NOT_EMPTY_SAMPLES = 2 * LEARNER_RATE_HZ

_WORD_MARK = "\u2581"

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
# One row of scores over the vocabulary for each decoded token: [1, tokens, vocabulary].
Logits: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Token:
    """One decoded piece of text, its number, and the natural log of its probability."""

    number: int
    piece: bytes
    log_probability: float


class MoonshineModel(Protocol):
    """Decodes audio greedily."""

    def decode(
        self,
        audio: npt.NDArray[np.float32],
        stopped: Callable[[], bool],
        draft: Sequence[Token] = (),
    ) -> tuple[Token, ...]:
        """Return the tokens of ``audio`` (16 kHz). Ends early once ``stopped()``.

        ``draft`` is a guess at the beginning of the result, such as the tokens of the same audio
        when it was shorter. It saves time as far as it is right and changes nothing otherwise.
        Blocking; safe to call from several threads at once.
        """


class Layout(Protocol):
    """What the decoding loop needs of a model."""

    vocabulary: list[bytes]

    def begin(
        self, audio: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
    ) -> tuple[Logits, Arrays]:
        """Encode ``audio`` and decode ``ids``; return their logits and what later steps need."""

    def step(self, ids: npt.NDArray[np.int64], past: Arrays) -> Logits:
        """Decode one more token of each row; ``past`` is brought up to date."""


def decode_with(
    layout: Layout,
    audio: npt.NDArray[np.float32],
    stopped: Callable[[], bool],
    draft: Sequence[Token],
) -> tuple[Token, ...]:
    """Decode greedily. A draft is verified in a single pass, then decoding goes on behind it."""
    limit = _token_limit(len(audio))
    guess = [token.number for token in draft[: limit - 1]]
    logits, past = layout.begin(audio, _ids(_START, *guess))
    tokens: list[Token] = []
    if len(audio) >= _NOT_EMPTY_SAMPLES:
        logits[0, 0, _END] = -np.inf
    for row in logits[0]:
        chosen, log_probability = _pick(row)
        if chosen == _END or stopped():
            return tuple(tokens)
        tokens.append(Token(chosen, layout.vocabulary[chosen], log_probability))
        if len(tokens) > len(guess) or chosen != guess[len(tokens) - 1]:
            break
    # The keys and values of refuted guesses must not be attended to.
    for name, value in past.items():
        if ".decoder." in name:
            past[name] = value[:, :, : len(tokens)]
    while len(tokens) < limit:
        chosen, log_probability = _pick(layout.step(_ids(tokens[-1].number), past)[0, -1])
        if chosen == _END or stopped():
            break
        tokens.append(Token(chosen, layout.vocabulary[chosen], log_probability))
    return tuple(tokens)


class FoldedMoonshine:
    """The folded int8 layout: three graphs in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._encoder = open_session(folder / "encoder.int8.onnx")
        self._first = open_session(folder / "decoder_first.int8.onnx")
        self._next = open_session(folder / "decoder_with_past.int8.onnx")
        self.vocabulary = read_vocabulary(folder / "tokenizer.bin")
        first_outputs = [output.name for output in self._first.get_outputs()]
        next_outputs = [output.name for output in self._next.get_outputs()]
        wanted = {item.name for item in self._next.get_inputs()}
        self._needs_hidden = "encoder_hidden_states" in wanted
        self._first_past = [_as_past(name) for name in first_outputs[1:]]
        # Only the decoder's own keys and values grow; the encoder's are empty after the first step.
        self._next_names = [name for name in next_outputs[1:] if ".decoder." in name]
        self._next_past = [_as_past(name) for name in self._next_names]
        self._wanted = wanted

    def decode(
        self,
        audio: npt.NDArray[np.float32],
        stopped: Callable[[], bool],
        draft: Sequence[Token] = (),
    ) -> tuple[Token, ...]:
        """Return the tokens of ``audio``."""
        return decode_with(self, audio, stopped, draft)

    def begin(
        self, audio: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
    ) -> tuple[Logits, Arrays]:
        """Encode ``audio`` and decode ``ids``."""
        return self.first(self.encode(audio), ids)

    def listen(self, samples: npt.NDArray[np.float32]) -> MoonshineListening:
        """Encode ``samples`` for a search among what they may say."""
        return MoonshineListening(self, samples)

    def token_limit(self, samples: int) -> int:
        """Return how many tokens so many samples may have."""
        return _token_limit(samples)

    def encode(self, audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return what the decoder hears of ``audio``."""
        hidden: npt.NDArray[np.float32] = self._encoder.run(None, {"input_values": audio[None]})[0]
        return hidden

    def first(
        self, hidden: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
    ) -> tuple[Logits, Arrays]:
        """Decode ``ids`` from the beginning; return their logits and what later steps need."""
        outputs = self._first.run(None, {"input_ids": ids, "encoder_hidden_states": hidden})
        past: Arrays = {
            name: value
            for name, value in zip(self._first_past, outputs[1:], strict=True)
            if name in self._wanted
        }
        if self._needs_hidden:
            past["encoder_hidden_states"] = hidden
        return outputs[0], past

    def step(self, ids: npt.NDArray[np.int64], past: Arrays) -> Logits:
        """Decode one more token."""
        outputs = self._next.run(["logits", *self._next_names], {"input_ids": ids, **past})
        past.update(zip(self._next_past, outputs[1:], strict=True))
        logits: Logits = outputs[0]
        return logits


class MoonshineListening:
    """One audio, encoded by a folded model. See ``second_hearing.Reader``."""

    def __init__(self, model: FoldedMoonshine, audio: npt.NDArray[np.float32]) -> None:
        self._model = model
        self._hidden = model.encode(audio)
        # See ``_NOT_EMPTY_SAMPLES``.
        self._not_empty = len(audio) >= _NOT_EMPTY_SAMPLES
        self._past: Arrays = {}

    @property
    def end(self) -> int:
        """The end of a text."""
        return _END

    def begin(self) -> npt.NDArray[np.float32]:
        """Return the scores of what the text may begin with."""
        logits, self._past = self._model.first(self._hidden, _ids(_START))
        row: npt.NDArray[np.float32] = logits[0, -1].copy()
        if self._not_empty:
            row[_END] = -np.inf
        return row

    def extend(self, parents: Sequence[int], tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return the scores of what may follow each of ``tokens``."""
        rows = list(parents)
        for name, value in self._past.items():
            if ".decoder." in name:
                self._past[name] = value[rows]
            elif len(value) != len(rows):
                # What was heard is the same for all of them.
                self._past[name] = np.repeat(value[:1], len(rows), axis=0)
        logits = self._model.step(np.array(tokens, np.int64)[:, None], self._past)
        last: npt.NDArray[np.float32] = logits[:, -1]
        return last

    def score(self, text: Sequence[int]) -> float:
        """Return the log probability of ``text`` and of its end, in one pass."""
        logits, _ = self._model.first(self._hidden, _ids(_START, *text))
        return read_score(logits[0], (*text, _END))


def read_score(rows: npt.NDArray[np.float32], tokens: Sequence[int]) -> float:
    """Return the log probability of ``tokens``, each by its row of logits."""
    tops = rows.max(axis=-1)
    norms = tops + np.log(np.exp(rows - tops[:, None]).sum(axis=-1))
    return float((rows[np.arange(len(tokens)), list(tokens)] - norms).sum())


class MergedMoonshine:
    """The published layout: ``encoder_model.ort`` and ``decoder_model_merged.ort``."""

    def __init__(self, folder: Path) -> None:
        self._encoder = open_session(folder / "encoder_model.ort")
        self._decoder = open_session(folder / "decoder_model_merged.ort")
        self.vocabulary = read_vocabulary(folder / "tokenizer.bin")
        self._encoder_mask = any(i.name == "attention_mask" for i in self._encoder.get_inputs())
        inputs = self._decoder.get_inputs()
        self._decoder_mask = any(i.name == "encoder_attention_mask" for i in inputs)
        self._cache_flag = next(i.name for i in inputs if "use_cache" in i.name)
        past = [i for i in inputs if i.name.startswith("past")]
        self._empty_past: Arrays = {
            i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in past
        }
        self._outputs = [_as_past(o.name) for o in self._decoder.get_outputs()[1:]]

    def decode(
        self,
        audio: npt.NDArray[np.float32],
        stopped: Callable[[], bool],
        draft: Sequence[Token] = (),
    ) -> tuple[Token, ...]:
        """Return the tokens of ``audio``."""
        return decode_with(self, audio, stopped, draft)

    def begin(
        self, audio: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]
    ) -> tuple[Logits, Arrays]:
        """Encode ``audio`` and decode ``ids``."""
        feed: Arrays = {"input_values": audio[None]}
        if self._encoder_mask:
            feed["attention_mask"] = np.ones((1, len(audio)), np.int64)
        hidden = self._encoder.run(None, feed)[0]
        past: Arrays = {"encoder_hidden_states": hidden, **self._empty_past}
        if self._decoder_mask:
            past["encoder_attention_mask"] = np.ones((1, hidden.shape[1]), np.int64)
        outputs = self._decoder.run(
            None, {"input_ids": ids, self._cache_flag: np.array([False]), **past}
        )
        past.update(zip(self._outputs, outputs[1:], strict=True))
        return outputs[0], past

    def step(self, ids: npt.NDArray[np.int64], past: Arrays) -> Logits:
        """Decode one more token."""
        outputs = self._decoder.run(
            None, {"input_ids": ids, self._cache_flag: np.array([True]), **past}
        )
        # The encoder's keys and values come with the first step only.
        past.update(
            (name, value)
            for name, value in zip(self._outputs, outputs[1:], strict=True)
            if ".decoder." in name
        )
        logits: Logits = outputs[0]
        return logits


def text_of(tokens: tuple[Token, ...]) -> str:
    """Return the text of ``tokens``."""
    raw = b"".join(token.piece for token in tokens)
    return raw.decode("utf-8", "replace").replace(_WORD_MARK, " ").strip()


def words_of(tokens: tuple[Token, ...]) -> list[tuple[str, float]]:
    """Return the words of ``tokens``, each with the geometric mean probability of its pieces."""
    mark = _WORD_MARK.encode()
    groups: list[list[Token]] = []
    for token in tokens:
        if token.piece.startswith(mark) or not groups:
            groups.append([])
        groups[-1].append(token)
    words = []
    for group in groups:
        text = text_of(tuple(group))
        if text:
            mean = sum(token.log_probability for token in group) / len(group)
            words.append((text, float(np.exp(mean))))
    return words


def read_vocabulary(path: Path) -> list[bytes]:
    """Read Moonshine's ``tokenizer.bin``: length-prefixed pieces, lengths of one or two bytes."""
    data = path.read_bytes()
    pieces = []
    position = 0
    while position < len(data):
        length = data[position]
        position += 1
        if length >= 128:
            length = data[position] * 128 + length - 128
            position += 1
        pieces.append(data[position : position + length])
        position += length
    return pieces


def _as_past(name: str) -> str:
    return name.replace("present", "past_key_values")


def _ids(*tokens: int) -> npt.NDArray[np.int64]:
    return np.array([tokens], np.int64)


def _token_limit(samples: int) -> int:
    return max(_MIN_TOKENS, int(samples / LEARNER_RATE_HZ * _TOKENS_PER_S) + 2)


def _pick(logits: npt.NDArray[np.float32]) -> tuple[int, float]:
    chosen = int(logits.argmax())
    top = logits[chosen]
    return chosen, -float(np.log(np.exp(logits - top).sum()))
