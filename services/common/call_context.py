"""What is known about the call in progress, for any code below the servicer.

The interceptors set these once a call; tasks started by the handler inherit them.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field

from services.common.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Caller:
    """The learner behind the call, as the verified access token says.

    `token` is the raw access token, kept so that calls to other services can carry it on.
    `issued_at` is when it was issued, in seconds of the epoch; 0 where that is not known.
    """

    user_id: str
    session_id: str
    token: str = field(repr=False)
    issued_at: int = field(default=0, compare=False)


request_id_var: ContextVar[str] = ContextVar("parley_request_id", default="")
caller_var: ContextVar[Caller | None] = ContextVar("parley_caller", default=None)
calling_service_var: ContextVar[str | None] = ContextVar("parley_calling_service", default=None)
client_address_var: ContextVar[str | None] = ContextVar("parley_client_address", default=None)
deadline_var: ContextVar[float | None] = ContextVar("parley_deadline", default=None)


def request_id() -> str:
    """Return the id of the call in progress; empty outside one."""
    return request_id_var.get()


def caller() -> Caller:
    """Return the learner behind the call.

    Raises:
        Unauthenticated: TOKEN_MISSING, when no learner's token came with it.
    """
    found = caller_var.get()
    if found is None:
        raise Unauthenticated("This method needs an access token.", reason="TOKEN_MISSING")
    return found


def caller_or_none() -> Caller | None:
    """Return the learner behind the call, or None when a service calls on its own."""
    return caller_var.get()


def calling_service() -> str | None:
    """Return the name of the Parley service that calls, or None."""
    return calling_service_var.get()


def client_address() -> str | None:
    """Return where the client is that called the gateway; None on the gateway's own machine."""
    return client_address_var.get()


def remaining_seconds() -> float | None:
    """Return the time left to the call; None when it has no deadline. Never negative."""
    deadline = deadline_var.get()
    if deadline is None:
        return None
    return max(0.0, deadline - asyncio.get_running_loop().time())
