"""Errors, their reasons, and their way over the wire and back."""

import ast
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import grpc
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from services.common import errors
from services.common.codes import Code
from services.common.errors import FieldViolation, ParleyError, Unavailable, error_for_code
from services.common.limits import Limits
from services.common.limits_page import render_limits
from services.common.reasons import REASONS, render_reasons
from services.common.status import DETAILS_KEY, from_rpc_error, from_status, to_status
from tests.tried_limits import render_tried

ROOT = Path(__file__).parents[3]

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ParleyError) and kind is not ParleyError
]
# Control characters apart, since protobuf strings take any other text.
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def rpc_error(code: grpc.StatusCode, status: Status | bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata()
    if status is not None:
        data = status if isinstance(status, bytes) else status.SerializeToString()
        trailing.add(DETAILS_KEY, data)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "details", None)


@given(
    kind=st.sampled_from(KINDS),
    message=words,
    reason=st.from_regex("[A-Z][A-Z_]{0,20}", fullmatch=True),
    retryable=st.booleans(),
    retry_ms=st.none() | st.integers(0, 10_000_000),
    fields=st.lists(st.builds(FieldViolation, words, words), max_size=3),
    metadata=st.dictionaries(words.filter(lambda key: key != "retryable"), words, max_size=3),
)
def test_an_error_survives_the_wire(kind, message, reason, retryable, retry_ms, fields, metadata):
    retry_after = None if retry_ms is None else retry_ms / 1000
    sent = kind(
        message,
        reason=reason,
        retryable=retryable,
        retry_after=retry_after,
        fields=fields,
        metadata=metadata,
    )
    got = from_status(Status.FromString(to_status(sent).SerializeToString()))
    assert type(got) is kind
    for name in ("message", "reason", "retryable", "retry_after", "fields", "metadata"):
        assert getattr(got, name) == getattr(sent, name), name


def test_a_dead_peer_is_unavailable_and_retryable():
    error = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE), "history")
    assert isinstance(error, Unavailable)
    assert (error.reason, error.retryable) == ("PEER_UNAVAILABLE", True)
    assert error.metadata == {"peer": "history"}


def test_a_peers_own_error_comes_back_as_raised():
    raised = errors.NotFound("Gone.", reason="CONVERSATION_NOT_FOUND")
    error = from_rpc_error(rpc_error(grpc.StatusCode.NOT_FOUND, to_status(raised, "id-1")))
    assert isinstance(error, errors.NotFound)
    assert error.reason == "CONVERSATION_NOT_FOUND"
    assert "request_id" not in error.metadata


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_every_code_without_details_becomes_a_documented_reason(code):
    assert from_rpc_error(rpc_error(code), "ai").reason in REASONS


def test_broken_details_are_taken_as_none():
    error = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE, b"\xff\xff"))
    assert error.reason == "PEER_UNAVAILABLE"


def test_a_status_with_an_unknown_code_is_internal():
    assert isinstance(from_status(Status(code=99)), errors.Internal)


@pytest.mark.parametrize("kind", KINDS)
def test_each_code_has_one_class(kind):
    assert error_for_code(kind.code) is kind


def test_every_reason_raised_in_the_services_is_in_the_table_with_its_code():
    wrong = []
    for path in sorted((ROOT / "services").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            kind = getattr(errors, name, None)
            for keyword in node.keywords:
                if keyword.arg != "reason" or not isinstance(keyword.value, ast.Constant):
                    continue
                reason = str(keyword.value.value)
                entry = REASONS.get(reason)
                expected = getattr(kind, "code", None) if kind in KINDS else None
                if kind in KINDS and (entry is None or entry.code is not expected):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {name} {reason}")
    assert not wrong


def test_the_table_is_sound():
    for entry in REASONS.values():
        assert entry.code is not Code.OK
        assert entry.meaning.endswith(".")
        assert entry.remedy.endswith(".")
        assert "|" not in entry.meaning + entry.remedy


def nodes_of_the_product(*but: str) -> Iterator[ast.AST]:
    """Yield the syntax of the services and the gateway, apart from the modules named."""
    for folder in ("services", "gateway"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name not in but:
                yield from ast.walk(ast.parse(path.read_text("utf-8")))


def test_every_reason_in_the_table_is_given_by_something():
    """LANGUAGE_UNSUPPORTED and TEXT_TOO_LONG were promised and never came."""
    given = {
        node.value
        for node in nodes_of_the_product("reasons.py")
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(REASONS.keys() - given) == []


def test_every_limit_is_read_by_something():
    """Five limits stood on the page and bounded nothing."""
    read = {
        node.attr
        for node in nodes_of_the_product("limits.py", "limits_page.py")
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert sorted({each.name for each in fields(Limits)} - read) == []


def test_the_page_of_errors_is_the_table():
    assert (ROOT / "docs/errors.md").read_text("utf-8") == render_reasons(REASONS.values())


def test_the_page_of_limits_is_the_table():
    assert (ROOT / "docs/limits.md").read_text("utf-8") == render_limits(render_tried())


@pytest.mark.parametrize(
    "said",
    [
        "SERVER: Received message larger than max (10000006 vs. 4194304)",
        "Sent message larger than max (10000006 vs. 4194304)",
        "received metadata size exceeds hard limit (value length 40000 vs. 20480)",
    ],
)
def test_a_message_that_the_transport_refuses_is_not_worth_another_try(said: str) -> None:
    """It has no details, and was called retryable."""
    nothing = grpc.aio.Metadata()
    raised = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, nothing, nothing, said)
    error = from_rpc_error(raised, "ai")
    assert (error.reason, error.retryable) == ("MESSAGE_TOO_LARGE", False)


def test_a_call_above_the_concurrency_is_worth_another_try() -> None:
    nothing = grpc.aio.Metadata()
    raised = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED, nothing, nothing, "Concurrent RPC limit exceeded!"
    )
    error = from_rpc_error(raised, "ai")
    assert (error.reason, error.retryable) == ("TOO_MANY_CALLS", True)


def test_a_stream_that_a_proxy_reset_is_worth_another_try() -> None:
    """Envoy resets a stream whose process died; gRPC calls that INTERNAL, like a bug of ours."""
    error = from_rpc_error(
        grpc.aio.AioRpcError(
            grpc.StatusCode.INTERNAL,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(),
            details="Received RST_STREAM with error code 2",
        )
    )
    assert (error.code, error.reason, error.retryable) == (
        Code.UNAVAILABLE,
        "PEER_UNAVAILABLE",
        True,
    )
