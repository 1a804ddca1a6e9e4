"""The conversion of Whisper on a model of one layer and one head, built like the real one."""

import json
import struct
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from parley_models.convert_whisper import (
    END,
    convert,
    encoder,
    pieces_file,
    quantise,
    read_weights,
)
from parley_models.errors import ConversionError
from parley_models.moonshine_decode import read_tokens

WIDTH = 64
TOKENS = END + 120
SUPPRESSED = 7


def linear(draw: np.random.Generator, rows: int, columns: int) -> dict[str, np.ndarray]:
    return {"weight": draw.normal(0, 0.1, (rows, columns)), "bias": draw.normal(0, 0.1, rows)}


def norm() -> dict[str, np.ndarray]:
    return {"gamma": np.ones(WIDTH), "beta": np.zeros(WIDTH)}


def variables() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(5)
    tree = {
        "encoder/conv1": {"weight": draw.normal(0, 0.1, (WIDTH, 80, 3)), "bias": np.zeros(WIDTH)},
        "encoder/conv2": {
            "weight": draw.normal(0, 0.1, (WIDTH, WIDTH, 3)),
            "bias": np.zeros(WIDTH),
        },
        "encoder/position_encodings": {"encodings": draw.normal(0, 0.1, (1500, WIDTH))},
        "decoder/position_encodings": {"encodings": draw.normal(0, 0.1, (448, WIDTH))},
        "decoder/embeddings": {"weight": draw.normal(0, 0.3, (TOKENS, WIDTH))},
        "encoder/layer_norm": norm(),
        "decoder/layer_norm": norm(),
    }
    for side in ("encoder", "decoder"):
        layer = f"{side}/layer_0"
        tree[f"{layer}/self_attention/layer_norm"] = norm()
        tree[f"{layer}/self_attention/linear_0"] = linear(draw, 3 * WIDTH, WIDTH)
        tree[f"{layer}/self_attention/linear_1"] = linear(draw, WIDTH, WIDTH)
        tree[f"{layer}/ffn/layer_norm"] = norm()
        tree[f"{layer}/ffn/linear_0"] = linear(draw, 4 * WIDTH, WIDTH)
        tree[f"{layer}/ffn/linear_1"] = linear(draw, WIDTH, 4 * WIDTH)
    tree["decoder/layer_0/attention/layer_norm"] = norm()
    for index, rows in enumerate((WIDTH, 2 * WIDTH, WIDTH)):
        tree[f"decoder/layer_0/attention/linear_{index}"] = linear(draw, rows, WIDTH)
    return {
        f"{name}/{part}": value for name, parts in tree.items() for part, value in parts.items()
    }


def model_file(values: dict[str, np.ndarray], kind: str = "WhisperSpec", version: int = 6) -> bytes:
    """Write `values` as CTranslate2 does, in half precision."""

    def name(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    out = struct.pack("<I", version) + name(kind) + struct.pack("<II", 3, len(values))
    for key, value in values.items():
        half = np.asarray(value, np.float16)
        out += name(key) + struct.pack("<B", half.ndim)
        out += b"".join(struct.pack("<I", size) for size in half.shape)
        out += struct.pack("<BI", 4, half.nbytes) + half.tobytes()
    return out + struct.pack("<I", 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whisper")
    (folder / "model.bin").write_bytes(model_file(variables()))
    (folder / "config.json").write_text(json.dumps({"suppress_ids": [SUPPRESSED, -1, 50300]}))
    vocabulary = ["!", "\u0120the", "\u010a", "\u00c3\u00a9", "a" * 200]
    vocabulary += [f"t{index}" for index in range(len(vocabulary), END)]
    vocabulary += ["<|endoftext|>", "<|startoftranscript|>"]
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return folder


@pytest.fixture(scope="module")
def target(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert(source, folder, quantised=False)
    return folder


Outputs = dict[str, np.ndarray]


def listen(target: Path, frames: int = 40) -> Outputs:
    session = onnxruntime.InferenceSession(str(target / "encoder.onnx"))
    mel = np.random.default_rng(1).normal(0, 1, (1, 80, frames)).astype(np.float32)
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {"mel": mel}), strict=True))


def decode(
    decoder: onnxruntime.InferenceSession, cross: Outputs, ids: list[list[int]], past: Outputs
) -> tuple[np.ndarray, Outputs]:
    names = [each.name for each in decoder.get_outputs()]
    outputs = decoder.run(names, {"input_ids": np.array(ids), **past, **cross})
    made = dict(zip(names, outputs, strict=True))
    logits = made.pop("logits")
    return logits, {name.replace("present", "past"): value for name, value in made.items()}


def nothing(rows: int) -> Outputs:
    empty = np.zeros((rows, 1, 0, 64), np.float32)
    return {"past.0.key": empty, "past.0.value": empty}


def test_weights_are_read_as_they_were_written(source: Path):
    read = read_weights(source / "model.bin")
    assert read.keys() == variables().keys()
    for name, value in variables().items():
        assert read[name].dtype == np.float32
        assert np.array_equal(read[name], value.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("kind", "version"), [("TransformerSpec", 6), ("WhisperSpec", 5)])
def test_another_kind_of_file_is_refused(kind: str, version: int, tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(model_file({}, kind, version))
    with pytest.raises(ConversionError, match="not Whisper"):
        read_weights(tmp_path / "model.bin")


def test_pieces_are_bytes_and_begin_words_with_a_mark(target: Path):
    pieces = read_tokens(target / "tokenizer.bin")
    assert len(pieces) == END + 1
    assert pieces[:4] == [b"!", "\u2581the".encode(), b"\n", "\u00e9".encode()]
    assert pieces[4] == b"a" * 200
    assert pieces[END] == b""


def test_a_vocabulary_of_marks_alone_has_no_pieces():
    assert pieces_file(["<|en|>", "<|0.00|>"]) == b"\0\0"


def test_a_sentence_read_in_one_pass_is_the_sentence_read_token_by_token(target: Path):
    cross = listen(target)
    decoder = onnxruntime.InferenceSession(str(target / "decoder.onnx"))
    ids = [50258, 3, 9, 11]
    whole, _ = decode(decoder, cross, [ids], nothing(1))
    past = nothing(1)
    for place, token in enumerate(ids):
        step, past = decode(decoder, cross, [[token]], past)
        assert step[0, 0, :500] == pytest.approx(whole[0, place, :500], abs=1e-3)
    assert past["past.0.key"].shape == (1, 1, len(ids), 64)


def test_several_sentences_in_one_batch_do_not_touch_each_other(target: Path):
    cross = listen(target)
    decoder = onnxruntime.InferenceSession(str(target / "decoder.onnx"))
    both, _ = decode(decoder, cross, [[50258, 3, 9], [50258, 20, 21]], nothing(2))
    alone, _ = decode(decoder, cross, [[50258, 20, 21]], nothing(1))
    assert both[1, :, :500] == pytest.approx(alone[0, :, :500], abs=1e-3)


def test_what_is_no_speech_cannot_be_chosen(target: Path):
    decoder = onnxruntime.InferenceSession(str(target / "decoder.onnx"))
    logits, _ = decode(decoder, listen(target), [[50258]], nothing(1))
    assert logits.shape == (1, 1, END + 1)
    assert logits[0, 0, SUPPRESSED] < -1e8
    assert (logits[0, 0, :SUPPRESSED] > -1e8).all()
    assert logits[0, 0, END] > -1e8


@pytest.mark.parametrize("frames", [2, 40, 3000])
def test_any_length_up_to_thirty_seconds_is_heard(target: Path, frames: int):
    cross = listen(target, frames)
    assert cross["cross.0.key"].shape == (1, 1, 64, frames // 2)
    assert cross["cross.0.value"].shape == (1, 1, frames // 2, 64)
    assert np.isfinite(cross["cross.0.value"]).all()


def test_the_models_that_are_installed_compute_on_int8(source: Path, tmp_path: Path):
    # Of the decoder the vocabulary alone would take seconds, and it is made by the same function.
    made = encoder(read_weights(source / "model.bin"), 1)
    quantise(made, tmp_path / "encoder.int8.onnx", ["MatMul"])
    session = onnxruntime.InferenceSession(str(tmp_path / "encoder.int8.onnx"))
    assert {each.name for each in session.get_inputs()} == {"mel"}
    operators = [node.op_type for node in onnx.load(tmp_path / "encoder.int8.onnx").graph.node]
    assert "MatMul" not in operators
    assert operators.count("MatMulInteger") == 5
