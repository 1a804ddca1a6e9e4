"""Greedy decoding of a converted Whisper model: just enough to check that it hears.

The ai service has the recognizer for conversations; this one favours few lines over speed.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from parley_models.moonshine_decode import SAMPLE_RATE_HZ, read_tokens

_PROMPT = [50258, 50259, 50359, 50363]
"""Begin; English; write what is said; without times."""

_END = 50257
_WINDOW_S = 30
_FFT, _HOP, _MELS = 400, 160, 80
_MOST_TOKENS = 60


def transcribe(folder: Path, samples: npt.NDArray[np.float32]) -> str:
    """The text of `samples` (16 kHz), by the model that `convert_whisper` wrote to `folder`."""
    encoder, decoder = (
        onnxruntime.InferenceSession(str(folder / f"{name}.int8.onnx"))
        for name in ("encoder", "decoder")
    )
    window = np.zeros(_WINDOW_S * SAMPLE_RATE_HZ, np.float32)
    window[: len(samples)] = samples[: len(window)]
    names = [output.name for output in encoder.get_outputs()]
    feed = {"mel": log_mel(window)[np.newaxis]}
    heard = dict(zip(names, encoder.run(None, feed), strict=True))
    outputs = [output.name for output in decoder.get_outputs()]
    past = {
        i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32)
        for i in decoder.get_inputs()
        if i.name.startswith("past")
    }
    ids: list[int] = []
    new = _PROMPT
    while len(ids) < _MOST_TOKENS:
        feed = {"input_ids": np.array([new]), **past, **heard}
        made = dict(zip(outputs, decoder.run(outputs, feed), strict=True))
        token = int(made.pop("logits")[0, -1].argmax())
        if token == _END:
            break
        past = {name.replace("present", "past"): value for name, value in made.items()}
        ids.append(token)
        new = [token]
    tokens = read_tokens(folder / "tokenizer.bin")
    text = b"".join(tokens[i] for i in ids).decode("utf-8", "replace")
    return text.replace("\u2581", " ").strip()


def log_mel(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Whisper's log-mel spectrogram, (80, frames): a frame every 10 ms."""
    padded = np.pad(samples, _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    windowed = frames[: len(samples) // _HOP] * np.hanning(_FFT + 1)[:-1]
    power = np.abs(np.fft.rfft(windowed, axis=1)) ** 2
    mel = np.log10(np.maximum(_mel_bands() @ power.T, 1e-10))
    mel = np.maximum(mel, mel.max() - 8.0)
    return np.asarray((mel + 4.0) / 4.0, np.float32)


def _mel_bands() -> npt.NDArray[np.float64]:
    """Slaney's scale: linear to 1 kHz, logarithmic above; each band of the same area."""
    top = 15.0 + np.log(SAMPLE_RATE_HZ / 2 / 1000.0) * 27.0 / np.log(6.4)
    marks = np.linspace(0.0, top, _MELS + 2)
    hertz = np.where(marks < 15.0, marks * 200.0 / 3.0, 1000.0 * 6.4 ** ((marks - 15.0) / 27.0))
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, _FFT // 2 + 1)
    rising = (bins - hertz[:-2, None]) / np.diff(hertz)[:-1, None]
    falling = (hertz[2:, None] - bins) / np.diff(hertz)[1:, None]
    bands: npt.NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return bands * (2.0 / (hertz[2:] - hertz[:-2]))[:, None]
