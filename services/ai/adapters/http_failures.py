"""What a provider's HTTP status means for whoever waits for an answer.

Only the status and the provider's own short code of the failure are told: its sentences may quote
what was said to it.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from services.ai.capabilities import (
    ProviderBusyError,
    ProviderError,
    ProviderRefusedError,
    ProviderTimeoutError,
)

# Longer than this is as good as for ever for somebody who waits for a reply.
_LONGEST_RETRY_AFTER_S = 86_400.0
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")
# What providers call an account that has nothing left, whatever the status.
_NO_CREDIT = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached"})
# Failures that Anthropic tells of in the middle of a stream, whose status was 200, as the status
# that they would have been.
_STATUS_OF = {
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "invalid_request_error": 400,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def keep_quiet(*loggers: str) -> None:
    """Keep vendors' clients from logging requests, whatever their own variables say.

    At DEBUG they log what was said, and WebSockets the key as well.
    """
    for name in (*loggers, "httpx2", "httpcore2", "websockets.client"):
        logging.getLogger(name).setLevel(logging.WARNING)


def status_failure(
    who: str, status: int, code: str | None, headers: Mapping[str, str]
) -> ProviderError:
    """Return the error for an answer of ``status`` with the failure's ``code``."""
    code = code if code and _CODE.fullmatch(code) else ""
    if 200 <= status < 300:
        status = _STATUS_OF.get(code, 500)
    told = f"{status} {code}".strip()
    if 300 <= status < 400:
        return ProviderRefusedError(f"{who} has another address now: set its base_url ({told})")
    if status == 402 or code in _NO_CREDIT:
        return ProviderRefusedError(f"the account at {who} has no credit ({told})")
    if status in (401, 403):
        return ProviderRefusedError(f"{who} does not accept the API key ({told})")
    if status == 404:
        return ProviderRefusedError(f"{who} does not know the model or the address ({told})")
    if status in (429, 529):
        return ProviderBusyError(
            f"{who} takes no more requests now ({told})", retry_after_s(headers, datetime.now(UTC))
        )
    if status in (408, 504):
        return ProviderTimeoutError(f"{who} took too long ({told})")
    if status >= 500:
        return ProviderError(f"{who} failed ({told})", retryable=True)
    return ProviderError(f"{who} refuses the request ({told})", retryable=False, elsewhere=True)


def broke_off(who: str) -> ProviderError:
    """Return the error for an answer that ended before it was complete."""
    return ProviderError(f"{who} broke off in the middle", retryable=True)


def unreachable(who: str) -> ProviderError:
    """Return the error for a provider to which no connection could be made, or that lost it."""
    return ProviderError(f"the connection to {who} failed", retryable=True)


def unreadable(who: str) -> ProviderError:
    """Return the error for an answer that is not what the protocol says."""
    return ProviderError(f"{who} sent what cannot be read", retryable=True)


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long the provider asks to be left alone (RFC 9110, 10.2.3), or None."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            seconds = float(value) / divisor
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(value) - now).total_seconds()
            except (TypeError, ValueError):
                continue
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)
    return None
