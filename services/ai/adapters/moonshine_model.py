"""Moonshine (Jeffries et al. 2024, arXiv 2410.15608; MIT) on plain onnxruntime: audio to tokens.

Two layouts of the same model are read. The published one (``MergedMoonshine``) has a decoder whose
first step and later steps share a graph. The folded one (``FoldedMoonshine``), which
``parley_models`` makes at install time, has them apart, weights in int8: four times as fast on
the base size, because nothing is dequantised at every token.
"""

from __future__ import annotations

from collections.abc import Callable
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

_WORD_MARK = "\u2581"

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Token:
    """One decoded piece of text and the natural log of its probability."""

    piece: bytes
    log_probability: float


class MoonshineModel(Protocol):
    """Decodes audio greedily."""

    def decode(
        self, audio: npt.NDArray[np.float32], stopped: Callable[[], bool]
    ) -> tuple[Token, ...]:
        """Return the tokens of ``audio`` (16 kHz). Ends early once ``stopped()``.

        Blocking; safe to call from several threads at once.
        """


class FoldedMoonshine:
    """The folded int8 layout: three graphs in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._encoder = open_session(folder / "encoder.int8.onnx")
        self._first = open_session(folder / "decoder_first.int8.onnx")
        self._next = open_session(folder / "decoder_with_past.int8.onnx")
        self._vocabulary = read_vocabulary(folder / "tokenizer.bin")
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
        self, audio: npt.NDArray[np.float32], stopped: Callable[[], bool]
    ) -> tuple[Token, ...]:
        """Return the tokens of ``audio``."""
        hidden = self._encoder.run(None, {"input_values": audio[None]})[0]
        outputs = self._first.run(
            None, {"input_ids": _ids(_START), "encoder_hidden_states": hidden}
        )
        past = {
            name: value
            for name, value in zip(self._first_past, outputs[1:], strict=True)
            if name in self._wanted
        }
        if self._needs_hidden:
            past["encoder_hidden_states"] = hidden
        tokens: list[Token] = []
        logits = outputs[0]
        for _ in range(_token_limit(len(audio))):
            chosen, log_probability = _pick(logits[0, -1])
            if chosen == _END or stopped():
                break
            tokens.append(Token(self._vocabulary[chosen], log_probability))
            outputs = self._next.run(
                ["logits", *self._next_names], {"input_ids": _ids(chosen), **past}
            )
            logits = outputs[0]
            past.update(zip(self._next_past, outputs[1:], strict=True))
        return tuple(tokens)


class MergedMoonshine:
    """The published layout: ``encoder_model.ort`` and ``decoder_model_merged.ort``."""

    def __init__(self, folder: Path) -> None:
        self._encoder = open_session(folder / "encoder_model.ort")
        self._decoder = open_session(folder / "decoder_model_merged.ort")
        self._vocabulary = read_vocabulary(folder / "tokenizer.bin")
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
        self, audio: npt.NDArray[np.float32], stopped: Callable[[], bool]
    ) -> tuple[Token, ...]:
        """Return the tokens of ``audio``."""
        feed: Arrays = {"input_values": audio[None]}
        if self._encoder_mask:
            feed["attention_mask"] = np.ones((1, len(audio)), np.int64)
        hidden = self._encoder.run(None, feed)[0]
        fixed: Arrays = {"encoder_hidden_states": hidden}
        if self._decoder_mask:
            fixed["encoder_attention_mask"] = np.ones((1, hidden.shape[1]), np.int64)
        past = dict(self._empty_past)
        tokens: list[Token] = []
        chosen = _START
        for step in range(_token_limit(len(audio))):
            outputs = self._decoder.run(
                None,
                {
                    "input_ids": _ids(chosen),
                    self._cache_flag: np.array([step > 0]),
                    **fixed,
                    **past,
                },
            )
            # The encoder's keys and values come with the first step only.
            past |= {
                name: value
                for name, value in zip(self._outputs, outputs[1:], strict=True)
                if step == 0 or ".decoder." in name
            }
            chosen, log_probability = _pick(outputs[0][0, -1])
            if chosen == _END or stopped():
                break
            tokens.append(Token(self._vocabulary[chosen], log_probability))
        return tuple(tokens)


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


def _ids(token: int) -> npt.NDArray[np.int64]:
    return np.array([[token]], np.int64)


def _token_limit(samples: int) -> int:
    return max(_MIN_TOKENS, int(samples / LEARNER_RATE_HZ * _TOKENS_PER_S) + 2)


def _pick(logits: npt.NDArray[np.float32]) -> tuple[int, float]:
    chosen = int(logits.argmax())
    top = logits[chosen]
    return chosen, -float(np.log(np.exp(logits - top).sum()))
