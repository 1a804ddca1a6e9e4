"""Greedy decoding of a converted Moonshine model: just enough to check that it hears.

The ai service has the recognizer for conversations; this one favours few lines over speed.
"""

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

SAMPLE_RATE_HZ = 16_000
_START, _END = 1, 2
_TOKENS_PER_SECOND = 6.5
"""The limit that Moonshine's authors put on the output, against endless repetition."""
_LONG_LENGTH = 0x80
"""Tokens of 128 bytes or more carry their length in two bytes, low seven bits first."""


def read_clip(path: Path) -> npt.NDArray[np.float32]:
    """A 16 kHz mono 16-bit WAV as samples in [-1, 1]. Raises ValueError for any other."""
    with wave.open(str(path)) as clip:
        if (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) != (
            SAMPLE_RATE_HZ,
            1,
            2,
        ):
            raise ValueError(f"{path.name} is not 16 kHz, mono, 16 bit")
        pcm = np.frombuffer(clip.readframes(clip.getnframes()), dtype="<i2")
    return (pcm / 32768.0).astype(np.float32)


def read_tokens(path: Path) -> list[bytes]:
    """Moonshine's `tokenizer.bin`: for each token its length, then its bytes."""
    data = path.read_bytes()
    tokens: list[bytes] = []
    at = 0
    while at < len(data):
        length = data[at]
        at += 1
        if length >= _LONG_LENGTH:
            length = length - _LONG_LENGTH + data[at] * _LONG_LENGTH
            at += 1
        tokens.append(data[at : at + length])
        at += length
    return tokens


def transcribe(folder: Path, samples: npt.NDArray[np.float32]) -> str:
    """The text of `samples` (16 kHz), by the model that `convert_moonshine` wrote to `folder`."""
    encoder, first, following = (
        onnxruntime.InferenceSession(str(folder / f"{name}.int8.onnx"))
        for name in ("encoder", "decoder_first", "decoder_with_past")
    )
    (hidden,) = encoder.run(None, {"input_values": samples[np.newaxis]})
    logits, *present = first.run(
        None,
        {"input_ids": np.array([[_START]], np.int64), "encoder_hidden_states": hidden},
    )
    state = dict(zip(_past_names(first), present, strict=True))
    wanted = {i.name for i in following.get_inputs()}
    ids: list[int] = []
    for _ in range(int(len(samples) / SAMPLE_RATE_HZ * _TOKENS_PER_SECOND) + 2):
        token = int(logits[0, -1].argmax())
        if token == _END:
            break
        ids.append(token)
        available = {
            **state,
            "input_ids": np.array([[token]], np.int64),
            "encoder_hidden_states": hidden,
        }
        logits, *present = following.run(
            None, {name: value for name, value in available.items() if name in wanted}
        )
        # The encoder's keys and values do not change after the first step.
        state.update(
            (name, value)
            for name, value in zip(_past_names(following), present, strict=True)
            if "decoder" in name
        )
    tokens = read_tokens(folder / "tokenizer.bin")
    text = b"".join(tokens[i] for i in ids if i != _START).decode("utf-8", "replace")
    return text.replace("\u2581", " ").strip()


def _past_names(session: onnxruntime.InferenceSession) -> list[str]:
    """The state outputs of a step, by the names under which the next step takes them."""
    return [o.name.replace("present", "past_key_values") for o in session.get_outputs()[1:]]
