"""The table of `tests/e2e/test_small_limits.py`: each limit with the function that tries it.

    FEW = small("few", Small({"concurrent_calls": 3}))

    @tries(FEW, "concurrent_calls", by=CALLED)
    async def three_are_taken_and_a_fourth_is_not(parley: Parley, client: str) -> None: ...

Limits of time are never judged by how soon something happens: a client is not sent away before N,
and is sent away afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from parley.conversation.v1 import conversation_pb2
from parley.user.v1 import user_pb2
from services.common.errors import ParleyError
from tests.e2e.caller import BOUND_S, Caller, RawTalk
from tests.e2e.clients import talking
from tests.e2e.town import Parley, Small
from tests.e2e.web_talk import WebSocketTalk, WebTalk
from tests.tried_limits import CLIENTS

TALKS = conversation_pb2.DESCRIPTOR.services_by_name["ConversationService"]
USERS = user_pb2.DESCRIPTOR.services_by_name["UserService"]

CALLED = ("native", "grpc-web")
"""The clients of what is no session's."""

Try = Callable[[Parley, str], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """How limits are tried: with which set of small ones, by which clients."""

    limits: tuple[str, ...]
    small: str
    clients: tuple[str, ...]
    tried: Try


ROWS: list[Row] = []

SMALL: dict[str, Small] = {}
"""By name: sets of limits that do not stand in each other's way."""


def small(name: str, limits: Small) -> str:
    """Make a set of small limits known by its name; return that."""
    SMALL[name] = limits
    return name


def tries(small: str, *limits: str, by: tuple[str, ...] = CLIENTS) -> Callable[[Try], Try]:
    """Make the function what tries `limits`, with the set of small ones of that name."""

    def keep(tried: Try) -> Try:
        ROWS.append(Row(limits, small, by, tried))
        return tried

    return keep


def unrecorded(one: Caller, client: str) -> AbstractAsyncContextManager[RawTalk | WebTalk]:
    """Return a session of which no sound is kept: its end takes no time."""
    return talking(one, client, no_recording=True)


async def ends_with(talk: RawTalk | WebTalk) -> str:
    """Read to the end; return the reason that the talk ended with."""
    try:
        async with asyncio.timeout(BOUND_S):
            while True:
                response = await talk.read()
                if isinstance(talk, WebSocketTalk) and response.notice.fatal:
                    # It is closed with the same a second later.
                    return talk.notices[-1].reason
    except EOFError:
        return ""
    except ParleyError as error:
        return error.reason
