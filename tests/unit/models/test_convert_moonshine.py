"""The conversion on a decoder of three nodes: small enough to read, built like the real one."""

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from parley_models.convert_moonshine import convert, fold_constants, load_ort, split_branches
from parley_models.errors import ConversionError
from parley_models.moonshine_decode import read_clip, read_tokens

WEIGHTS = np.array([[1, -2], [3, 4]], np.int8)
SCALE = np.float32(0.5)
SHIFT = np.float32(1.0)


def value(name: str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [None, 2])


def rebuilt_weights() -> list[onnx.NodeProto]:
    """Cast, scale and shift, as the published models rebuild their weights."""
    return [
        helper.make_node("Cast", ["w"], ["w_cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["w_cast", "w_scale"], ["w_mul"]),
        helper.make_node("Add", ["w_mul", "w_shift"], ["w_add"]),
    ]


def constants() -> list[onnx.TensorProto]:
    return [
        numpy_helper.from_array(WEIGHTS, "w"),
        numpy_helper.from_array(np.array(SCALE), "w_scale"),
        numpy_helper.from_array(np.array(SHIFT), "w_shift"),
    ]


def plain_graph() -> onnx.GraphProto:
    nodes = [*rebuilt_weights(), helper.make_node("MatMul", ["x", "w_add"], ["y"])]
    return helper.make_graph(nodes, "plain", [value("x")], [value("y")], constants())


def merged_graph() -> onnx.GraphProto:
    """One choice of two branches that read the outer weights and inputs."""

    def branch(name: str, reads: str) -> onnx.GraphProto:
        nodes = [helper.make_node("MatMul", [reads, "w_add"], [f"{name}_y"])]
        return helper.make_graph(nodes, name, [], [value(f"{name}_y")])

    choice = helper.make_node(
        "If",
        ["use_cache_branch"],
        ["y"],
        then_branch=branch("then", "past"),
        else_branch=branch("else", "x"),
    )
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    return helper.make_graph(
        [*rebuilt_weights(), choice],
        "merged",
        [value("x"), value("past"), flag],
        [value("y")],
        constants(),
    )


def model_of(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    result: np.ndarray = session.run(None, inputs)[0]
    return result


X = np.array([[1.0, 2.0]], np.float32)
EXPECTED = X @ (WEIGHTS.astype(np.float32) * SCALE + SHIFT)


def test_folding_leaves_the_product_alone_and_the_result_the_same() -> None:
    graph = plain_graph()
    assert fold_constants(graph) == 3
    assert [n.op_type for n in graph.node] == ["MatMul"]
    assert [i.name for i in graph.initializer] == ["w_add"]
    np.testing.assert_allclose(run(model_of(graph), x=X), EXPECTED)


def test_what_depends_on_an_input_is_not_folded() -> None:
    nodes = [helper.make_node("Add", ["x", "w_shift"], ["y"])]
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], constants())
    assert fold_constants(graph) == 0
    np.testing.assert_allclose(run(model_of(graph), x=X), X + SHIFT)


def test_each_branch_becomes_a_model_that_computes_the_same() -> None:
    merged = model_of(merged_graph())
    fold_constants(merged.graph)
    branches = dict(split_branches(merged))
    assert set(branches) == {"decoder_first", "decoder_with_past"}
    first, following = branches["decoder_first"], branches["decoder_with_past"]
    assert [i.name for i in first.graph.input] == ["x"]
    assert [i.name for i in following.graph.input] == ["past"]
    assert [o.name for o in first.graph.output] == ["y"]
    np.testing.assert_allclose(run(first, x=X), EXPECTED)
    np.testing.assert_allclose(run(following, past=X), EXPECTED)


def test_a_decoder_of_another_shape_is_refused() -> None:
    with pytest.raises(ConversionError, match="two branches"):
        dict(split_branches(model_of(plain_graph())))


def test_a_branch_that_reads_what_is_computed_outside_is_refused() -> None:
    """Unfolded weights are computed outside: splitting would lose them without a word."""
    merged = model_of(merged_graph())
    choice = merged.graph.node[-1]
    del merged.graph.node[:]
    merged.graph.node.append(choice)
    with pytest.raises(ConversionError, match="w_add"):
        dict(split_branches(merged))


@pytest.fixture
def root_level() -> Iterator[None]:
    before = logging.getLogger().level
    yield
    logging.getLogger().setLevel(before)


@pytest.mark.usefixtures("root_level")
def test_the_whole_conversion_from_ort_files(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, graph in (("encoder_model", plain_graph()), ("decoder_model_merged", merged_graph())):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(source / f"{name}.ort")
        options.add_session_config_entry("session.save_model_format", "ORT")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        onnxruntime.InferenceSession(model_of(graph).SerializeToString(), options)
    (source / "tokenizer.bin").write_bytes(b"\x01a")
    assert len(load_ort(source / "encoder_model.ort").graph.node) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the quantiser's own, in a process of its own otherwise
        convert(source, target)
    assert sorted(p.name for p in target.iterdir()) == [
        "decoder_first.int8.onnx",
        "decoder_with_past.int8.onnx",
        "encoder.int8.onnx",
        "tokenizer.bin",
    ]
    encoder = onnx.load(str(target / "encoder.int8.onnx"))
    assert "MatMulInteger" in {n.op_type for n in encoder.graph.node}
    np.testing.assert_allclose(run(encoder, x=X), EXPECTED, atol=0.1)


def test_tokens_are_read_with_short_and_long_lengths(tmp_path: Path) -> None:
    long = b"x" * 300
    data = b"\x00" + b"\x02ab" + bytes([300 % 128 + 128, 300 // 128]) + long
    (tmp_path / "t").write_bytes(data)
    assert read_tokens(tmp_path / "t") == [b"", b"ab", long]


def test_the_check_clip_is_what_the_recognizer_takes() -> None:
    from importlib import resources

    with resources.as_file(resources.files("parley_models") / "check_clip.wav") as clip:
        samples = read_clip(clip)
    assert samples.dtype == np.float32
    assert 2.0 < len(samples) / 16_000 < 5.0
    assert 0.05 < float(np.abs(samples).max()) <= 1.0
