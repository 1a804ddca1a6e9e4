"""Forged tokens at the gateway alone: which it stops itself, and which it leaves to the service.

Behind it are stand-ins that believe anybody and note every call that comes as far as them. What
does come is held against what every service does with a token: there it ends.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from parley.user.v1 import user_pb2
from services.common.auth import TokenVerifier, bearer, keys_from_jwks
from services.common.clock import SystemClock
from services.common.errors import Unauthenticated
from services.common.status import from_rpc_error
from tests.e2e import grpc_web
from tests.forged_tokens import forgeries
from tests.integration.gateway.conftest import Edge

pytestmark = pytest.mark.asyncio(loop_scope="package")

LEARNERS_METHOD = {
    "user": "/parley.user.v1.UserService/GetProfile",
    "conversation": "/parley.conversation.v1.ConversationService/Push",
    "ai": "/parley.ai.v1.AiService/ListEngines",
    "history": "/parley.history.v1.HistoryService/ListConversations",
    "media": "/parley.media.v1.MediaService/GetRecording",
}

KINDS = {
    *(f"typ {each!r}" for each in ("JWT", "jwt", "at+JWT ", "svc+jwt", "", None, 1)),
    # Its header brings a key or rules of its own: the gateway passes over them.
    *(f"{each} really signed" for each in ("jwk", "jku", "x5u", "x5c ['MIIB']", "x5t abc")),
    *(f"{each} really signed" for each in ("crit ['exp']", "crit []", "b64 False", "zip DEF")),
    "enc A256GCM really signed",
    # Claims of ours that are no business of the gateway's.
    *(f"no {each}" for each in ("sub", "sid", "jti", "iat")),
    *("sub ''", "issued in an hour"),
    # Larger than any of ours, but no larger than headers may be.
    "5 KB",
}
"""What is really signed and yet no access token of ours: only who holds a key could make it."""

LEFT_TO_THE_SERVICE = KINDS | {
    # The gateway passes over what stands before a token; the service takes the value whole.
    "no base64",
}
"""Forgeries that the gateway lets pass, each for the service to refuse. All others stop there."""

Call = Callable[[str], Awaitable[str]]
"""Calls a method with a token; returns the reason that it fails with, empty for none."""


async def refusals(edge: Edge, service: str, call: Call) -> tuple[dict[str, str], dict[str, str]]:
    """Knock with each forgery; return what the gateway said to those that it stopped.

    Those that came as far as the service are the second, each with the token as it came.
    """
    path, arrivals = LEARNERS_METHOD[service], edge.upstreams[service].arrivals
    stopped, arrived = {}, {}
    for name, token in forgeries(edge.tokens.genuine()):
        arrivals.seen.clear()
        reason = await call(token)
        came = [shown for called, shown in arrivals.seen if called == path]
        if came:
            arrived[name] = came[0]
        else:
            stopped[name] = reason
    arrivals.seen.clear()
    assert not await call(edge.tokens.access()) or service == "media"
    assert [called for called, _ in arrivals.seen if called == path], "a real one comes through"
    return stopped, arrived


async def refused_by_services(edge: Edge, shown: str) -> str:
    """Return the reason for which a service refuses an `authorization`; empty: it takes it."""
    document = json.loads(edge.jwks.document)

    async def keys() -> Any:
        return keys_from_jwks(document)

    try:
        await TokenVerifier(keys, SystemClock()).verify(bearer(shown))
    except Unauthenticated as error:
        return error.reason
    return ""


async def judge(edge: Edge, stopped: dict[str, str], arrived: dict[str, str]) -> None:
    wrong = {
        name: reason
        for name, reason in stopped.items()
        if reason not in {"TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_MISSING"}
    }
    assert wrong == {}
    believed = [
        name for name, shown in arrived.items() if not await refused_by_services(edge, shown)
    ]
    assert believed == []
    assert set(arrived) == LEFT_TO_THE_SERVICE


@pytest.mark.parametrize("service", LEARNERS_METHOD)
async def test_the_gateway_stops_forged_tokens_and_the_service_those_it_cannot_judge(
    edge: Edge, service: str
):
    async with edge.channel() as channel:
        method: Any = channel.unary_unary(LEARNERS_METHOD[service])

        async def call(token: str) -> str:
            try:
                await method(b"", metadata=(("authorization", f"Bearer {token}"),), timeout=10)
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason
            return ""

        await judge(edge, *await refusals(edge, service, call))


async def test_a_page_is_stopped_with_the_same_ones(edge: Edge):
    async with httpx.AsyncClient(base_url=edge.url, timeout=10) as web:

        async def call(token: str) -> str:
            shown = {"authorization": f"Bearer {token}"}
            request = user_pb2.GetProfileRequest()
            answer = await grpc_web.call(web, LEARNERS_METHOD["user"], request, shown)
            return answer.reason if answer.code else ""

        await judge(edge, *await refusals(edge, "user", call))
