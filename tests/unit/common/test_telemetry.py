"""Logs say what happened, and never what was said or a secret."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.contextvars import clear_contextvars

from services.common.call_context import request_id_var
from services.common.errors import Unavailable
from services.common.telemetry import REDACTED, bind_log_context, configure_logs, redact

SPEECH = "my secret holiday in Lisbon"


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(stream: io.StringIO) -> dict[str, object]:
    line: dict[str, object] = json.loads(stream.getvalue().splitlines()[-1])
    return line


def configured(level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logs("echo", level, "json", stream)
    return stream


def test_a_line_names_service_request_and_conversation():
    stream = configured()
    token = request_id_var.set("req-1")
    bind_log_context(conversation_id="conv-1")
    structlog.get_logger().info("turn_saved", turn=3)
    request_id_var.reset(token)
    line = logged(stream)
    assert line["event"] == "turn_saved"
    assert line["turn"] == 3
    assert (line["service"], line["level"]) == ("echo", "info")
    assert (line["request_id"], line["conversation_id"]) == ("req-1", "conv-1")


@pytest.mark.parametrize(
    "key",
    ["text", "reply_text", "transcript", "password", "refresh_token", "Authorization", "verbatim"],
)
def test_sensitive_keys_are_redacted_at_any_depth(key):
    stream = configured()
    structlog.get_logger().info("x", **{key: SPEECH}, nested=[{"deep": {key: SPEECH}}])
    assert SPEECH not in stream.getvalue()
    assert REDACTED in stream.getvalue()


def test_bytes_are_told_by_their_size_alone():
    stream = configured()
    structlog.get_logger().info("x", blob=SPEECH.encode())
    assert logged(stream)["blob"] == f"<{len(SPEECH)} bytes>"


def test_counts_under_sensitive_names_are_kept():
    stream = configured()
    structlog.get_logger().info("x", words=12, audio=None)
    assert logged(stream)["words"] == 12


keys = st.sampled_from(["password", "x_text", "audio", "access-token", "ok", "turn"])
values = st.recursive(
    st.just(SPEECH), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner)
)


@given(st.dictionaries(st.sampled_from(["password", "x_text", "words", "token"]), values))
def test_nothing_under_a_sensitive_key_survives(event):
    assert SPEECH not in repr(redact(None, "info", dict(event)))


def crash(words: str) -> None:
    local = words
    raise ValueError(f"cannot parse {local!r}")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_where_but_neither_variables_nor_messages(form):
    stream = io.StringIO()
    configure_logs("echo", "info", form, stream)
    try:
        crash(SPEECH)
    except ValueError as error:
        structlog.get_logger().error("failed", exc_info=error)
    assert SPEECH not in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert "in crash" in stream.getvalue()


def test_the_standard_librarys_tracebacks_are_treated_alike():
    stream = configured()
    try:
        crash(SPEECH)
    except ValueError:
        logging.getLogger("library").exception("went wrong")
    assert SPEECH not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_our_own_errors_keep_their_message_and_causes_are_shown():
    stream = configured()
    try:
        try:
            crash(SPEECH)
        except ValueError as error:
            raise Unavailable("The disk is full.", reason="STORAGE_UNAVAILABLE") from error
    except Unavailable:
        structlog.get_logger().exception("failed")
    text = str(logged(stream)["exception"])
    assert "The disk is full." in text
    assert text.index("ValueError") < text.index("Unavailable")


def test_groups_show_what_is_inside():
    stream = configured()
    group = ExceptionGroup("many", [KeyError(SPEECH), OSError("disk")])
    structlog.get_logger().error("failed", exc_info=group)
    text = str(logged(stream)["exception"])
    assert "KeyError" in text
    assert "disk" in text
    assert SPEECH not in text


def test_a_developer_at_level_debug_sees_messages():
    stream = configured("debug")
    structlog.get_logger().error("failed", exc_info=ValueError("at this place"))
    assert "at this place" in stream.getvalue()


def test_lines_below_the_level_are_not_written():
    stream = configured("warning")
    structlog.get_logger().info("quiet")
    assert stream.getvalue() == ""
