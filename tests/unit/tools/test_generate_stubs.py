"""The stubs fit our servicers, and a stale one is told by name."""

import pytest

UNION = "_typing.Union[_abc.Iterator[_pb.X], _abc.AsyncIterator[_pb.X]]"


def test_a_streaming_method_may_write_instead_of_yield(tool):
    stub = f"    ) -> {UNION}:\n"
    assert tool("generate_stubs").allow_write_style(stub) == stub.replace(
        "]]:", "], _abc.Awaitable[None]]:"
    )


@pytest.mark.parametrize(
    "stub", ["-> _typing.Union[_pb.X, _abc.Awaitable[_pb.X]]:", f"def f(x: {UNION}) -> None: ..."]
)
def test_other_signatures_stay(tool, stub):
    assert tool("generate_stubs").allow_write_style(stub) == stub


@pytest.mark.parametrize(
    ("present", "told"),
    [
        ({"a": "1\n"}, None),
        ({"a": "2\n"}, "-2"),
        ({}, "missing: a"),
        ({"a": "1\n", "b": ""}, "no longer generated: b"),
    ],
)
def test_each_kind_of_drift_is_told(tool, capsys, present, told):
    status = tool("generate_stubs").report({"a": "1\n"}, present)
    assert status == (told is not None)
    assert (told or "") in capsys.readouterr().err
