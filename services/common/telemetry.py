"""Logs: structured, bound to the call in progress, without speech or secrets in them.

Every module logs with `structlog.get_logger(__name__)`: an event name in snake_case and facts as
keywords. `conversation_id` is bound once a stream with `bind_log_context`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.contextvars import bind_contextvars

from services.common.call_context import request_id
from services.common.errors import ParleyError

REDACTED = "[redacted]"

# Whole keys, and endings after an underscore: `reply_text` is speech as `text` is.
_SENSITIVE = frozenset(
    {
        "audio",
        "authorization",
        "clean",
        "content",
        "cookie",
        "credential",
        "credentials",
        "email",
        "handle",
        "jwt",
        "passphrase",
        "password",
        "payload",
        "pcm",
        "prompt",
        "samples",
        "secret",
        "speech",
        "text",
        "token",
        "transcript",
        "utterance",
        "verbatim",
        "words",
    }
)

# The innermost ones; what leads to a handler is the same for all.
_MAX_FRAMES = 20

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


def configure_logs(
    service: str,
    level: LogLevel = "info",
    form: LogFormat = "auto",
    stream: TextIO | None = None,
) -> None:
    """Set up structlog and the standard library's logging for the process; call it once, first.

    Lines go to `stream` (standard error by default): standard output is for what was asked for.
    """
    out = sys.stderr if stream is None else stream
    console = form == "console" or (form == "auto" and out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]

    def name_service(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        event["service"] = service
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        name_service,
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _exceptions(with_messages=threshold <= logging.DEBUG),
        redact,
    ]
    last: list[Any] = [
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if console
        else structlog.processors.JSONRenderer()
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library: the same lines, and only what matters.
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def bind_log_context(**facts: str | int) -> None:
    """Add facts, such as `conversation_id`, to every later line of this call and its tasks."""
    bind_contextvars(**facts)


def add_request_id(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Name the call in progress in the line."""
    current = request_id()
    if current:
        event["request_id"] = current
    return event


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
    """Replace what must not be logged: values of sensitive keys at any depth, and all bytes."""
    for key, value in event.items():
        if key != "event":
            event[key] = _redacted(key, value)
    return event


def _exceptions(*, with_messages: bool) -> Any:
    """Return the processor that renders exceptions: their types and where, and little else.

    Local variables never appear, and messages only of our own errors and the system's: a
    library's message may quote what it was given, which may be speech or a secret. At level
    debug, where a developer looks at their own words, all messages do.
    """

    def render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        found = event.pop("exc_info", None)
        if found is True:
            found = sys.exc_info()[1]
        elif isinstance(found, tuple):
            found = found[1]
        if isinstance(found, BaseException):
            event["exception"] = _traceback(found, with_messages)
        return event

    return render


def _traceback(error: BaseException, with_messages: bool) -> str:
    parts = []
    chain: BaseException | None = error
    while chain is not None:
        parts.append(_one_traceback(chain, with_messages))
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    text = "\nduring which:\n".join(reversed(parts))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            text += "\nincluding:\n" + _traceback(each, with_messages)
    return text


def _one_traceback(error: BaseException, with_messages: bool) -> str:
    lines = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    ]
    ours = isinstance(error, ParleyError | OSError | ImportError)
    name = type(error).__name__
    lines.append(f"{name}: {error}" if ours or with_messages else name)
    return "\n".join(lines)


def _redacted(key: str, value: Any) -> Any:
    if _is_sensitive(key) and not isinstance(value, int | float | None):
        return REDACTED
    if isinstance(value, Mapping):
        return {each: _redacted(str(each), inner) for each, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", inner) for inner in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return value


def _is_sensitive(key: str) -> bool:
    name = key.lower().replace("-", "_")
    return name in _SENSITIVE or name.rpartition("_")[2] in _SENSITIVE
