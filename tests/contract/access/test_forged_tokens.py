"""Forged tokens at every service's own door: each refused for what it is, none an accident."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets import ConnectionClosed, Subprotocol
from websockets.asyncio.client import connect

from services.common.errors import Code
from tests.contract.access.conftest import SERVICES, Doors
from tests.forged_tokens import forgeries

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1 = Subprotocol("parley.v1")
LEARNERS_METHOD = {
    "user": "GetProfile",
    "conversation": "ListScenarios",
    "ai": "ListEngines",
    "history": "ListConversations",
    "media": "GetRecording",
}
SERVICES_METHOD = {
    ("conversation", "user"): "FindEndedSessions",
    ("conversation", "ai"): "Converse",
    ("conversation", "history"): "Ingest",
    ("conversation", "media"): "Record",
    ("user", "conversation"): "EraseUser",
}


@pytest.mark.parametrize("callee", SERVICES)
async def test_no_forged_access_token_is_taken(doors: Doors, callee: str):
    method = SERVICES[callee].methods_by_name[LEARNERS_METHOD[callee]]
    genuine = doors.genuine_access()
    wrong = {}
    for name, token in forgeries(genuine):
        error = await doors.call(callee, method, (("authorization", f"Bearer {token}"),))
        if error is None or error.reason not in {"TOKEN_INVALID", "TOKEN_EXPIRED"}:
            wrong[name] = "admitted" if error is None else error.reason
    assert wrong == {}
    real = (("authorization", f"Bearer {genuine.token}"),)
    assert await doors.knock(callee, method, real) not in {"TOKEN_INVALID", "TOKEN_EXPIRED"}


@pytest.mark.parametrize(("caller", "callee"), SERVICES_METHOD)
async def test_no_forged_service_identity_is_taken(doors: Doors, caller: str, callee: str):
    method = SERVICES[callee].methods_by_name[SERVICES_METHOD[caller, callee]]
    genuine = doors.genuine_service(caller, callee)
    key = "x-parley-service-authorization"
    wrong = {}
    for name, token in forgeries(genuine):
        error = await doors.call(callee, method, ((key, f"Bearer {token}"),))
        if error is None or error.reason != "SERVICE_IDENTITY_INVALID":
            wrong[name] = "admitted" if error is None else error.reason
    assert wrong == {}
    real = ((key, f"Bearer {genuine.token}"),)
    assert await doors.knock(callee, method, real) != "SERVICE_IDENTITY_INVALID"


@pytest.mark.parametrize("callee", SERVICES)
@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer  ", "x" * 5_000])
async def test_what_is_no_bearer_token_at_all_is_refused(doors: Doors, callee: str, value: str):
    method = SERVICES[callee].methods_by_name[LEARNERS_METHOD[callee]]
    assert await doors.knock(callee, method, (("authorization", value),)) == "TOKEN_INVALID"


@pytest.mark.parametrize("callee", SERVICES)
async def test_a_huge_token_is_refused_by_the_transport(doors: Doors, callee: str):
    method = SERVICES[callee].methods_by_name[LEARNERS_METHOD[callee]]
    error = await doors.call(callee, method, (("authorization", "Bearer " + "x" * 60_000),))
    assert error is not None
    assert error.code in {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE}


@pytest.mark.parametrize("callee", SERVICES)
async def test_a_services_identity_is_no_learners_token_nor_the_other_way_round(
    doors: Doors, callee: str
):
    method = SERVICES[callee].methods_by_name[LEARNERS_METHOD[callee]]
    service_token = doors.service("conversation", callee)[0][1]
    assert await doors.knock(callee, method, (("authorization", service_token),)) == "TOKEN_INVALID"
    both = (("x-parley-service-authorization", f"Bearer {doors.token}"),)
    assert await doors.knock(callee, method, both) in {"SERVICE_IDENTITY_INVALID", "TOKEN_MISSING"}


async def websocket_reason(doors: Doors, **options: Any) -> str:
    """Open the conversation service's WebSocket; return the reason that it is closed with."""
    async with connect(doors.websocket, **options) as socket:
        try:
            async with asyncio.timeout(20):
                while True:
                    await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.reason if closed.rcvd else ""


async def test_no_forged_token_opens_a_websocket(doors: Doors):
    genuine = doors.genuine_access()
    wrong = {}
    for name, token in forgeries(genuine):
        header = {"Authorization": f"Bearer {token}"}
        reasons = {await websocket_reason(doors, subprotocols=[V1], additional_headers=header)}
        if token.replace(".", "").replace("-", "").replace("_", "").isalnum():
            # As pages send it; what is no HTTP token cannot be sent so.
            reasons.add(
                await websocket_reason(
                    doors, subprotocols=[V1, Subprotocol(f"parley.token.{token}")]
                )
            )
        if not reasons <= {"TOKEN_INVALID", "TOKEN_EXPIRED"}:
            wrong[name] = reasons
    assert wrong == {}
