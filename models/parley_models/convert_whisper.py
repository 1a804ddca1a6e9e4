"""Turns Whisper's weights, as CTranslate2 keeps them, into ONNX on int8. Recipe `whisper-int8`.

    python -m parley_models.convert_whisper SOURCE_FOLDER TARGET_FOLDER

ONNX Runtime runs every other speech model here, on one thread that the caller lends; so Whisper
needs no runtime of its own. The graphs are written from the paper (Radford et al. 2022, arXiv
2212.04356), with what a patient listener wants of them:

- the encoder takes any length up to 30 s, and gives the keys and values that all hypotheses of a
  sentence attend to, once;
- the decoder takes any number of hypotheses and of tokens at a time, so that one pass reads
  a whole sentence;
- tokens that are no speech (other languages' marks, times, music) cannot be chosen.

It runs in a process of its own (see `derive.py`).
"""

import argparse
import json
import logging
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from parley_models.errors import ConversionError

_VERSION = 6
"""Of CTranslate2's file format."""

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""By the number that the format gives them."""

_IR_VERSION = 9
"""Written into the models: the newest that every ONNX Runtime from 1.16 on reads."""

_OPSET = 17
"""The first with LayerNormalization."""

END = 50257
"""The end of a text: the last token that can be chosen. What is above it says how to listen."""

_NEVER = -1e9
"""Added to the logit of a token that cannot be chosen."""

_WORD_MARK = "\u2581".encode()
"""Begins a piece that begins a word, as in Moonshine's vocabulary."""

_Weights = Mapping[str, npt.NDArray[np.float32]]


def convert(source: Path, target: Path, *, quantised: bool = True) -> None:
    """Reads `model.bin`, `config.json` and `vocabulary.json` from `source`.

    Writes `encoder.int8.onnx`, `decoder.int8.onnx` and `tokenizer.bin` to `target`. Raises
    ConversionError when the files are not as expected.
    """
    target.mkdir(parents=True, exist_ok=True)
    logging.getLogger().setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(4)
    weights = read_weights(source / "model.bin")
    config = json.loads((source / "config.json").read_text())
    vocabulary = json.loads((source / "vocabulary.json").read_text())
    heads = weights["decoder/embeddings/weight"].shape[1] // 64
    for name, model, operators in (
        ("encoder", encoder(weights, heads), ["MatMul"]),
        ("decoder", decoder(weights, heads, config["suppress_ids"]), ["MatMul", "Gather"]),
    ):
        if quantised:
            quantise(model, target / f"{name}.int8.onnx", operators)
        else:
            onnx.save(model, target / f"{name}.onnx")
    (target / "tokenizer.bin").write_bytes(pieces_file(vocabulary[: END + 1]))


def read_weights(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """CTranslate2's `model.bin` by variable's name, in single precision."""
    data = memoryview(path.read_bytes())
    at = 0

    def number(form: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return int(value)

    def name() -> str:
        nonlocal at
        length = number("<H")
        text = bytes(data[at : at + length]).rstrip(b"\0").decode()
        at += length
        return text

    version, kind, _ = number("<I"), name(), number("<I")
    if (version, kind) != (_VERSION, "WhisperSpec"):
        raise ConversionError(f"{path.name} is {kind!r} of format {version}, not Whisper of 6.")
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for _ in range(number("<I")):
        variable = name()
        shape = [number("<I") for _ in range(number("<B"))]
        dtype = _DTYPES[number("<B")]
        size = number("<I")
        values = np.frombuffer(data[at : at + size], dtype).reshape(shape)
        at += size
        weights[variable] = values.astype(np.float32)
    return weights


def pieces_file(vocabulary: Sequence[str]) -> bytes:
    """The vocabulary in the form of Moonshine's `tokenizer.bin`: lengths, and bytes."""
    byte_of = _bytes_of_characters()
    out = bytearray()
    for token in vocabulary:
        piece = b"" if token.startswith("<|") else bytes(byte_of[c] for c in token)
        if piece.startswith(b" "):
            piece = _WORD_MARK + piece[1:]
        if len(piece) >= 128:
            out += bytes((128 + len(piece) % 128, len(piece) // 128))
        else:
            out.append(len(piece))
        out += piece
    return bytes(out)


def _bytes_of_characters() -> dict[str, int]:
    """Which byte each character of a token stands for: printable ones for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + index): byte for index, byte in enumerate(others)
    }


class _Graph:
    """An ONNX graph under construction. Methods add what they name and return its output."""

    def __init__(self, weights: _Weights, heads: int) -> None:
        self.weights = weights
        self.heads = heads
        self.width = heads * 64
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], domain=domain, **attributes)
        )
        return output

    def nodes_of(
        self, kind: str, inputs: Sequence[str], count: int, **attributes: Any
    ) -> list[str]:
        outputs = [f"{kind}_{len(self.nodes)}_{index}" for index in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def named(self, value: str, name: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def numbers(self, *values: int) -> str:
        return self.constant("i_" + "_".join(map(str, values)), np.array(values, np.int64))

    def linear(self, x: str, name: str, scaled: slice | None = None) -> str:
        """`name`'s product and bias; `scaled` rows by attention's 1/8."""
        weight, bias = self.weights[f"{name}/weight"].copy(), self.weights[f"{name}/bias"].copy()
        if scaled is not None:
            weight[scaled] /= 8.0
            bias[scaled] /= 8.0
        product = self.node("MatMul", x, self.constant(f"{name}/weight", weight.T))
        return self.node("Add", product, self.constant(f"{name}/bias", bias))

    def norm(self, x: str, name: str) -> str:
        gamma = self.constant(f"{name}/gamma", self.weights[f"{name}/gamma"])
        beta = self.constant(f"{name}/beta", self.weights[f"{name}/beta"])
        return self.node("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-5)

    def feed_forward(self, x: str, name: str) -> str:
        hidden = self.linear(self.norm(x, f"{name}/layer_norm"), f"{name}/linear_0")
        hidden = self.node("Gelu", hidden, domain="com.microsoft")
        return self.node("Add", x, self.linear(hidden, f"{name}/linear_1"))

    def by_head(self, x: str, *order: int) -> str:
        """[batch, time, width] as heads, in the given order of (batch, time, head, 64)."""
        parts = self.node("Reshape", x, self.numbers(0, 0, self.heads, 64))
        return self.node("Transpose", parts, perm=list(order))

    def attend(self, query: str, keys: str, values: str, mask: str | None) -> str:
        """Attention, heads apart: keys are [batch, head, 64, time]."""
        scores = self.node("MatMul", query, keys)
        if mask is not None:
            scores = self.node("Add", scores, mask)
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), values)
        mixed = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        return self.node("Reshape", mixed, self.numbers(0, 0, self.width))

    def model(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, name, list(inputs), list(outputs), list(self.constants.values())
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = _IR_VERSION
        return model


def _floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def encoder(weights: _Weights, heads: int) -> onnx.ModelProto:
    """Log-mel [1, 80, frames] to keys and values of every layer of the decoder.

    Two frames make one of `time`.
    `cross.N.key` is [1, heads, 64, time] and `cross.N.value` [1, heads, time, 64].
    """
    g = _Graph(weights, heads)
    x = "mel"
    for name, stride in (("conv1", 1), ("conv2", 2)):
        kernel = g.constant(name, weights[f"encoder/{name}/weight"])
        bias = g.constant(f"{name}/bias", weights[f"encoder/{name}/bias"])
        x = g.node("Conv", x, kernel, bias, kernel_shape=[3], pads=[1, 1], strides=[stride])
        x = g.node("Gelu", x, domain="com.microsoft")
    x = g.node("Transpose", x, perm=[0, 2, 1])
    positions = g.constant("positions", weights["encoder/position_encodings/encodings"])
    heard = g.node("Slice", g.node("Shape", x), g.numbers(1), g.numbers(2))
    x = g.node("Add", x, g.node("Slice", positions, g.numbers(0), heard))
    for index in range(_layers(weights, "encoder")):
        layer = f"encoder/layer_{index}"
        normed = g.norm(x, f"{layer}/self_attention/layer_norm")
        joined = g.linear(normed, f"{layer}/self_attention/linear_0", slice(0, g.width))
        query, key, value = g.nodes_of("Split", [joined], 3, axis=-1)
        mixed = g.node(
            "MultiHeadAttention",
            query,
            key,
            value,
            domain="com.microsoft",
            num_heads=heads,
            scale=1.0,
        )
        x = g.node("Add", x, g.linear(mixed, f"{layer}/self_attention/linear_1"))
        x = g.feed_forward(x, f"{layer}/ffn")
    x = g.norm(x, "encoder/layer_norm")
    outputs = []
    for index in range(_layers(weights, "decoder")):
        joined = g.linear(x, f"decoder/layer_{index}/attention/linear_1")
        key, value = g.nodes_of("Split", [joined], 2, axis=-1)
        g.named(g.by_head(key, 0, 2, 3, 1), f"cross.{index}.key")
        g.named(g.by_head(value, 0, 2, 1, 3), f"cross.{index}.value")
        outputs.append(_floats(f"cross.{index}.key", 1, heads, 64, "time"))
        outputs.append(_floats(f"cross.{index}.value", 1, heads, "time", 64))
    return g.model("whisper_encoder", [_floats("mel", 1, 80, "frames")], outputs)


def decoder(weights: _Weights, heads: int, suppressed: Sequence[int]) -> onnx.ModelProto:
    """Tokens [batch, new] after `past.N.key|value` [batch, heads, past, 64] to their logits.

    `present.N.key|value` are the past of the next step. The encoder's keys and values serve every
    row of the batch.
    """
    g = _Graph(weights, heads)
    embeddings = weights["decoder/embeddings/weight"]
    # The marks that say how to listen are read as well, so all of it is looked up in.
    x = g.node("Gather", g.constant("embeddings", embeddings), "input_ids", axis=0)
    past = g.node("Slice", g.node("Shape", "past.0.key"), g.numbers(2), g.numbers(3))
    new = g.node("Slice", g.node("Shape", "input_ids"), g.numbers(1), g.numbers(2))
    end = g.node("Add", past, new)
    places = g.constant("places", weights["decoder/position_encodings/encodings"])
    x = g.node("Add", x, g.node("Slice", places, past, end))
    mask = _causal(g, past, end)
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "new"])]
    outputs = [_floats("logits", "batch", "new", END + 1)]
    for index in range(_layers(weights, "decoder")):
        layer = f"decoder/layer_{index}"
        normed = g.norm(x, f"{layer}/self_attention/layer_norm")
        joined = g.linear(normed, f"{layer}/self_attention/linear_0", slice(0, g.width))
        query, key, value = g.nodes_of("Split", [joined], 3, axis=-1)
        keys = g.node("Concat", f"past.{index}.key", g.by_head(key, 0, 2, 1, 3), axis=2)
        values = g.node("Concat", f"past.{index}.value", g.by_head(value, 0, 2, 1, 3), axis=2)
        g.named(keys, f"present.{index}.key")
        g.named(values, f"present.{index}.value")
        turned = g.node("Transpose", keys, perm=[0, 1, 3, 2])
        mixed = g.attend(g.by_head(query, 0, 2, 1, 3), turned, values, mask)
        x = g.node("Add", x, g.linear(mixed, f"{layer}/self_attention/linear_1"))
        normed = g.norm(x, f"{layer}/attention/layer_norm")
        query = g.linear(normed, f"{layer}/attention/linear_0", slice(0, g.width))
        cross = (f"cross.{index}.key", f"cross.{index}.value")
        mixed = g.attend(g.by_head(query, 0, 2, 1, 3), *cross, None)
        x = g.node("Add", x, g.linear(mixed, f"{layer}/attention/linear_2"))
        x = g.feed_forward(x, f"{layer}/ffn")
        for what in ("key", "value"):
            inputs.append(_floats(f"past.{index}.{what}", "batch", heads, "past", 64))
            outputs.append(_floats(f"present.{index}.{what}", "batch", heads, "whole", 64))
        inputs.append(_floats(cross[0], 1, heads, 64, "time"))
        inputs.append(_floats(cross[1], 1, heads, "time", 64))
    x = g.norm(x, "decoder/layer_norm")
    x = g.node("MatMul", x, g.constant("projection", embeddings[: END + 1].T))
    never = np.zeros(END + 1, np.float32)
    never[[token for token in suppressed if 0 <= token < END]] = _NEVER
    g.nodes.append(helper.make_node("Add", [x, g.constant("never", never)], ["logits"]))
    return g.model("whisper_decoder", inputs, outputs)


def _causal(g: _Graph, past: str, end: str) -> str:
    """What a new token may not attend to: [new, past + new] of 0 and a large negative number."""
    zero, one = g.constant("zero", np.array(0, np.int64)), g.constant("one", np.array(1, np.int64))
    first, last = (g.node("Squeeze", each, g.numbers(0)) for each in (past, end))
    rows = g.node("Unsqueeze", g.node("Range", first, last, one), g.numbers(1))
    columns = g.node("Unsqueeze", g.node("Range", zero, last, one), g.numbers(0))
    seen = g.node("LessOrEqual", columns, rows)
    nothing = g.constant("nothing", np.array(0, np.float32))
    never = g.constant("minus", np.array(_NEVER, np.float32))
    return g.node("Where", seen, nothing, never)


def _layers(weights: _Weights, side: str) -> int:
    return sum(
        name.startswith(f"{side}/layer_") and name.endswith("/ffn/linear_0/weight")
        for name in weights
    )


def quantise(model: onnx.ModelProto, target: Path, operators: list[str]) -> None:
    """Writes `model` with int8 weights, scaled by channel, for the given operators."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        whole = Path(folder) / "model.onnx"
        onnx.save(model, whole)
        quantize_dynamic(
            whole,
            target,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=operators,
            per_channel=True,
            # What comes out of ONNX Runtime's own operators has no type that could be inferred.
            extra_options={"DefaultTensorType": TensorProto.FLOAT},
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m parley_models.convert_whisper")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    convert(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
