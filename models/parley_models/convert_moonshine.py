"""Turns the published Moonshine model into one that runs on int8. The recipe `moonshine-int8`.

    python -m parley_models.convert_moonshine SOURCE_FOLDER TARGET_FOLDER

The published `.ort` files keep weights as int8 but rebuild the floats (cast, scale, shift) in
the graph, every time it runs, so at every token of the decoder. Three steps cure that:

1. fold: nodes whose inputs are all constants are computed once, here;
2. split: the decoder's `If` (first step, or a step with past keys and values) becomes two models,
   so that neither carries a branch it never takes;
3. quantise: dynamic int8 matrix products, which ONNX Runtime computes on int8.

Measured on two cores of x86-64: three seconds of speech go from 780 ms to about 170 ms.

It runs in a process of its own (see `derive.py`), for it needs about 1.1 GB for some seconds.
"""

import argparse
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from parley_models.errors import ConversionError

_FOLDABLE = {"Cast", "Mul", "Add"}
"""The operators with which the published graph rebuilds its weights."""

_IR_VERSION = 9
"""Written into the models: the newest that every ONNX Runtime from 1.16 on reads."""

_BRANCHES = {"then_branch": "decoder_with_past", "else_branch": "decoder_first"}
"""The merged decoder asks `use_cache_branch`: yes for every step but the first."""

_Array = npt.NDArray[np.generic]


def convert(source: Path, target: Path) -> None:
    """Reads `encoder_model.ort`, `decoder_model_merged.ort` and `tokenizer.bin` from `source`.

    Writes `encoder.int8.onnx`, `decoder_first.int8.onnx`, `decoder_with_past.int8.onnx` and
    `tokenizer.bin` to `target`. Raises ConversionError when the graphs are not as expected.
    """
    target.mkdir(parents=True, exist_ok=True)
    # Dynamic quantisation warns once a tensor about shapes it does not need.
    logging.getLogger().setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(4)
    encoder = load_ort(source / "encoder_model.ort")
    fold_constants(encoder.graph)
    # The encoder's embedding of sound is a convolution: only its products gain from int8.
    quantise(encoder, target / "encoder.int8.onnx", ["MatMul"])
    del encoder
    decoder = load_ort(source / "decoder_model_merged.ort")
    fold_constants(decoder.graph)
    for name, model in split_branches(decoder):
        quantise(model, target / f"{name}.int8.onnx", ["MatMul", "Gather"])
    shutil.copyfile(source / "tokenizer.bin", target / "tokenizer.bin")


def load_ort(path: Path) -> onnx.ModelProto:
    """An ORT-format model as an ONNX graph, unoptimised, so that it keeps its names."""
    with tempfile.TemporaryDirectory(prefix="parley-") as folder:
        saved = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(saved)
        options.add_session_config_entry("session.save_model_format", "ONNX")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(str(saved))
    # ONNX Runtime lists every operator set it knows; only these two are used.
    kept = [o for o in model.opset_import if o.domain in ("", "com.microsoft")]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = _IR_VERSION
    return model


def fold_constants(graph: onnx.GraphProto) -> int:
    """Computes nodes of constants and puts their results in the graph; tells how many.

    Folded values that nothing reads any more, and constants that only they read, are dropped.
    """
    constants = {i.name: i for i in graph.initializer}
    computed: dict[str, _Array] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        inputs = [
            computed[n] if n in computed else numpy_helper.to_array(constants[n])
            for n in node.input
            if n in computed or (node.op_type in _FOLDABLE and n in constants)
        ]
        if node.op_type in _FOLDABLE and len(inputs) == len(node.input):
            computed[node.output[0]] = _compute(node, inputs)
        else:
            kept.append(node)
    folded = len(graph.node) - len(kept)
    del graph.node[:]
    graph.node.extend(kept)
    read = set(_names_read(graph)) | {o.name for o in graph.output}
    initializers = [i for i in graph.initializer if i.name in read]
    initializers += [
        numpy_helper.from_array(np.ascontiguousarray(value), name)
        for name, value in computed.items()
        if name in read
    ]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
    return folded


def _compute(node: onnx.NodeProto, inputs: list[_Array]) -> _Array:
    if node.op_type == "Cast":
        (kind,) = (a.i for a in node.attribute if a.name == "to")
        return inputs[0].astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
    left, right = inputs
    result: _Array = np.multiply(left, right) if node.op_type == "Mul" else np.add(left, right)
    return result


def _names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a node reads, in this graph or in a branch inside it."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _names_read(attribute.g)


def split_branches(merged: onnx.ModelProto) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The two branches of the merged decoder, each as a model of its own, with its name."""
    choices = [n for n in merged.graph.node if n.op_type == "If"]
    if len(choices) != 1 or len(merged.graph.node) != 1:
        raise ConversionError("The Moonshine decoder is not one choice of two branches.")
    for attribute in choices[0].attribute:
        yield _BRANCHES[attribute.name], _standalone(merged, attribute.g)


def _standalone(merged: onnx.ModelProto, branch: onnx.GraphProto) -> onnx.ModelProto:
    """A branch with the outer constants and inputs that it reads, and the outer output names."""
    outer_constants = {i.name: i for i in merged.graph.initializer}
    outer_inputs = {i.name: i for i in merged.graph.input}
    own = {i.name for i in branch.initializer} | {o for n in branch.node for o in n.output}
    graph = onnx.GraphProto()
    graph.CopyFrom(branch)
    del graph.output[:]
    read = set(_names_read(branch)) | {o.name for o in branch.output}
    for name in sorted(read - own - {""}):
        if name in outer_constants:
            graph.initializer.append(outer_constants[name])
        elif name in outer_inputs:
            graph.input.append(outer_inputs[name])
        else:
            raise ConversionError(f"The Moonshine decoder's branch reads {name}, which is nowhere.")
    for inner, outer in zip(branch.output, merged.graph.output, strict=True):
        graph.output.append(outer)
        if inner.name != outer.name:
            graph.node.append(onnx.helper.make_node("Identity", [inner.name], [outer.name]))
    model = onnx.helper.make_model(graph, opset_imports=list(merged.opset_import))
    model.ir_version = _IR_VERSION
    return model


def quantise(model: onnx.ModelProto, target: Path, operators: list[str]) -> None:
    """Writes `model` with int8 weights, scaled by channel, for the given operators."""
    quantize_dynamic(
        model,
        target,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=operators,
        per_channel=True,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m parley_models.convert_moonshine")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    convert(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
