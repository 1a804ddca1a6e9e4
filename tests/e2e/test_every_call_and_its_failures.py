"""Every call of the user service: its success and each failure that its contract names.

Each is made three ways: to the service's own port, through the gateway, and through the gateway as
a page does it. What a table lacks that the contract has, or has that it lacks, fails as well.
"""

from __future__ import annotations

import inspect
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import services.user as user_service
from parley.user.v1 import user_pb2 as pb
from services.common.ids import new_id
from services.common.status import from_rpc_error
from services.user.application import UserApplication
from services.user.erasing import AccountDeletion
from services.user.exporting import Exporter
from tests.contract.access.test_who_may_call import RULES
from tests.e2e import grpc_web
from tests.e2e.caller import BOUND_S
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.leaves_behind("a running Parley that the tests share"),
]

SERVICE = pb.DESCRIPTOR.services_by_name["UserService"]
PROTO = Path(__file__).parents[2] / "protos" / "parley" / "user" / "v1" / "user.proto"
PASSWORD = "three odd words"
ATTEMPTS = 10

OK = "OK"


@dataclass
class Desk:
    """One way to the service."""

    name: str
    channel: grpc.aio.Channel
    web: httpx.AsyncClient

    async def ask(self, method: str, request: Message, token: str = "") -> tuple[str, Any]:
        """Call; return OK and the last message, or the reason of the refusal and nothing."""
        path = f"/{SERVICE.full_name}/{method}"
        descriptor = SERVICE.methods_by_name[method]
        answer_type = GetMessageClass(descriptor.output_type)
        metadata = {"authorization": f"Bearer {token}"} if token else {}
        if self.name == "page":
            answer = await grpc_web.call(self.web, path, request, metadata)
            if answer.code:
                return answer.reason or f"status {answer.code}", None
            return OK, answer_type.FromString(answer.messages[-1])
        kind = "unary_stream" if descriptor.server_streaming else "unary_unary"
        call: Any = getattr(self.channel, kind)(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_type.FromString,
        )(request, metadata=tuple(metadata.items()), timeout=BOUND_S)
        try:
            if descriptor.server_streaming:
                *_, last = [each async for each in call]
                return OK, last
            return OK, await call
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error).reason or f"status {error.code()}", None

    async def account(self) -> tuple[str, pb.TokenPair]:
        """Make an account; return its name and its tokens."""
        name = f"call-{secrets.token_hex(6)}"
        said, made = await self.ask(
            "Register", pb.RegisterRequest(username=name, password=PASSWORD)
        )
        assert said == OK
        return name, made.tokens

    async def token(self) -> str:
        """Return a new account's access token."""
        return str((await self.account())[1].access_token)


@pytest.fixture(params=["service", "gateway", "page"])
async def desk(request: Any, scripted_stack: Stack) -> AsyncIterator[Desk]:
    port = scripted_stack.service_ports["user"]
    address = f"127.0.0.1:{port}" if request.param == "service" else scripted_stack.address
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        url = f"http://{scripted_stack.address}"
        web = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=BOUND_S))
        yield Desk(request.param, channel, web)


# --- what the calls are given ------------------------------------------------------------------

Given = tuple[Message, str]
Prepare = Callable[[Desk], Awaitable[Given]]
CASES: dict[tuple[str, str], Prepare] = {}

GOOD: dict[str, Message] = {
    "GetProfile": pb.GetProfileRequest(),
    "UpdateProfile": pb.UpdateProfileRequest(account=pb.Account(voice="x")),
    "ChangePassword": pb.ChangePasswordRequest(old_password=PASSWORD, new_password="other words"),
    "ListSessions": pb.ListSessionsRequest(),
    "RevokeSession": pb.RevokeSessionRequest(all_others=True),
    "DeleteAccount": pb.DeleteAccountRequest(password=PASSWORD),
    "ExportData": pb.ExportDataRequest(),
}
"""Of the calls that need a token: a request that succeeds with any account's."""


def case(method: str, expected: str) -> Callable[[Prepare], Prepare]:
    def keep(prepare: Prepare) -> Prepare:
        CASES[method, expected] = prepare
        return prepare

    return keep


def always(method: str, expected: str, request: Message, *, signed_in: bool = False) -> None:
    async def prepare(desk: Desk) -> Given:
        return request, await desk.token() if signed_in else ""

    CASES[method, expected] = prepare


for each, good in GOOD.items():
    always(each, OK, good, signed_in=True)
    always(each, "TOKEN_MISSING", good)

    async def invalid(_: Desk, good: Message = good) -> Given:
        return good, "no token"

    async def ended(desk: Desk, good: Message = good) -> Given:
        _, tokens = await desk.account()
        await desk.ask("Logout", pb.LogoutRequest(refresh_token=tokens.refresh_token))
        return good, tokens.access_token

    async def deleted(desk: Desk, good: Message = good) -> Given:
        token = await desk.token()
        await desk.ask("DeleteAccount", GOOD["DeleteAccount"], token)
        return good, token

    CASES[each, "TOKEN_INVALID"] = invalid
    # Ending sessions can be asked for again by who has ended the own one: then it ends nothing.
    if each != "RevokeSession":
        CASES[each, "SESSION_ENDED"] = ended
        CASES[each, "USER_NOT_FOUND"] = deleted

always("GetJwks", OK, pb.GetJwksRequest())
always("Register", "INVALID_REQUEST", pb.RegisterRequest(username="x", password=PASSWORD))
common = pb.RegisterRequest(username="common-password", password="password1")
always("Register", "PASSWORD_TOO_COMMON", common)
always("Login", "BAD_CREDENTIALS", pb.LoginRequest(username="nobody-there", password=PASSWORD))
always("Login", "INVALID_REQUEST", pb.LoginRequest())
always("Refresh", "REFRESH_TOKEN_INVALID", pb.RefreshRequest(refresh_token="unknown"))
always("Refresh", "INVALID_REQUEST", pb.RefreshRequest(refresh_token="x" * 600))
always("Logout", OK, pb.LogoutRequest(refresh_token="unknown"))
always("Logout", "INVALID_REQUEST", pb.LogoutRequest(refresh_token="x" * 600))
unknown = pb.UpdateProfileRequest(account=pb.Account(voice="x"))
unknown.update_mask.paths.append("username")
always("UpdateProfile", "PROFILE_FIELD_UNKNOWN", unknown, signed_in=True)
nowhere = pb.UpdateProfileRequest(account=pb.Account(profile={"time_zone": "Nowhere/Here"}))
always("UpdateProfile", "INVALID_REQUEST", nowhere, signed_in=True)
wrong = pb.ChangePasswordRequest(old_password="not this one", new_password="other words")
always("ChangePassword", "BAD_CREDENTIALS", wrong, signed_in=True)
weak = pb.ChangePasswordRequest(old_password=PASSWORD, new_password="password1")
always("ChangePassword", "PASSWORD_TOO_COMMON", weak, signed_in=True)
short = pb.ChangePasswordRequest(old_password=PASSWORD, new_password="short")
always("ChangePassword", "INVALID_REQUEST", short, signed_in=True)
always("RevokeSession", "INVALID_REQUEST", pb.RevokeSessionRequest(), signed_in=True)
other = pb.DeleteAccountRequest(password="not this one")
always("DeleteAccount", "BAD_CREDENTIALS", other, signed_in=True)
always("DeleteAccount", "INVALID_REQUEST", pb.DeleteAccountRequest(), signed_in=True)


@case("Register", OK)
async def _(_: Desk) -> Given:
    name = f"call-{secrets.token_hex(6)}"
    return pb.RegisterRequest(username=name, password=PASSWORD), ""


@case("Register", "USERNAME_TAKEN")
async def _(desk: Desk) -> Given:
    name, _ = await desk.account()
    return pb.RegisterRequest(username=name.upper(), password=PASSWORD), ""


@case("Register", "REQUEST_ID_REUSED")
async def _(desk: Desk) -> Given:
    first = pb.RegisterRequest(username=f"call-{secrets.token_hex(6)}", password=PASSWORD)
    first.request_id = new_id()
    await desk.ask("Register", first)
    second = pb.RegisterRequest(username=f"call-{secrets.token_hex(6)}", password=PASSWORD)
    second.request_id = first.request_id
    return second, ""


@case("Login", OK)
async def _(desk: Desk) -> Given:
    name, _ = await desk.account()
    return pb.LoginRequest(username=name, password=PASSWORD), ""


@case("Login", "TOO_MANY_ATTEMPTS")
async def _(desk: Desk) -> Given:
    name = f"guessed-{secrets.token_hex(6)}"
    for _ in range(ATTEMPTS):
        await desk.ask("Login", pb.LoginRequest(username=name, password="a guess"))
    return pb.LoginRequest(username=name, password=PASSWORD), ""


@case("ChangePassword", "TOO_MANY_ATTEMPTS")
async def _(desk: Desk) -> Given:
    token = await desk.token()
    for _ in range(ATTEMPTS):
        await desk.ask("ChangePassword", wrong, token)
    return GOOD["ChangePassword"], token


@case("DeleteAccount", "TOO_MANY_ATTEMPTS")
async def _(desk: Desk) -> Given:
    token = await desk.token()
    for _ in range(ATTEMPTS):
        await desk.ask("DeleteAccount", other, token)
    return GOOD["DeleteAccount"], token


@case("Refresh", OK)
async def _(desk: Desk) -> Given:
    _, tokens = await desk.account()
    return pb.RefreshRequest(refresh_token=tokens.refresh_token), ""


@case("Refresh", "REFRESH_TOKEN_REUSED")
async def _(desk: Desk) -> Given:
    _, tokens = await desk.account()
    first = pb.RefreshRequest(refresh_token=tokens.refresh_token)
    _, renewed = await desk.ask("Refresh", first)
    await desk.ask("Refresh", pb.RefreshRequest(refresh_token=renewed.tokens.refresh_token))
    return first, ""


ELSEWHERE = {
    # The limit is not for callers on this machine; the test says that it comes from another.
    ("Register", "TOO_MANY_ATTEMPTS"): (
        "tests.contract.user.test_throttling",
        "test_one_address_makes_so_many_accounts_an_hour",
    ),
    # A few archives at once, which those of empty accounts are too quick for.
    ("ExportData", "TOO_MANY_CALLS"): (
        "tests.contract.user.test_export",
        "test_one_more_than_are_made_at_once_is_refused_and_made_later",
    ),
    ("ExportData", "PEER_UNAVAILABLE"): (
        "tests.contract.user.test_export",
        "test_a_service_that_is_away_breaks_the_archive_off_with_a_reason",
    ),
    ("FindEndedSessions", OK): (
        "tests.contract.user.test_sessions",
        "test_the_conversation_service_is_told_which_sessions_are_over",
    ),
    ("FindEndedSessions", "INVALID_REQUEST"): (
        "tests.contract.user.test_sessions",
        "test_1000_sessions_can_be_asked_for_and_no_more",
    ),
}
"""What cannot be brought about here, and the test that has it."""


# --- the tests ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "expected"), sorted(CASES), ids=lambda each: each)
async def test_it_answers_as_its_contract_says(desk: Desk, method: str, expected: str):
    request, token = await CASES[method, expected](desk)
    said, _ = await desk.ask(method, request, token)
    assert said == expected


async def test_what_is_between_services_is_closed_to_learners(desk: Desk):
    said, _ = await desk.ask("FindEndedSessions", pb.FindEndedSessionsRequest(), await desk.token())
    expected = "SERVICE_IDENTITY_REQUIRED" if desk.name == "service" else "NOT_IMPLEMENTED"
    assert said == expected


OF_EVERY_CALL = {
    "INVALID_REQUEST",
    "SESSION_ENDED",
    "TOKEN_INVALID",
    "TOKEN_MISSING",
    "USER_NOT_FOUND",
}
"""What docs/errors.md says of whatever takes a request and a token: no comment repeats it."""


CODES = {"ALREADY_EXISTS", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
"""Of the codes of gRPC those that comments name beside the reason, and that look like one."""

DONE_BY: dict[str, Callable[..., Any]] = {
    "Register": UserApplication.register,
    "Login": UserApplication.login,
    "Refresh": UserApplication.refresh,
    "Logout": UserApplication.logout,
    "GetProfile": UserApplication.account,
    "UpdateProfile": UserApplication.update,
    "ChangePassword": UserApplication.change_password,
    "ListSessions": UserApplication.sessions,
    "RevokeSession": UserApplication.revoke,
    "DeleteAccount": AccountDeletion.delete,
    "ExportData": Exporter.archive,
    "FindEndedSessions": UserApplication.ended_sessions,
}
"""What does the work of each call, and says in its docstring how it can fail."""

_REASON = r"\b[A-Z]+(?:_[A-Z]+)+\b"


def documented() -> set[tuple[str, str]]:
    """Return every failure that a comment in the contract names, and every call's success."""
    body = PROTO.read_text("utf-8").partition("service UserService {")[2].partition("\n}\n")[0]
    found = set()
    for comment, method in re.findall(r"((?:  //.*\n)+)  rpc (\w+)\(", body):
        text = " ".join(line.strip(" /") for line in comment.splitlines())
        found |= {
            (method, OK),
            *((method, each) for each in re.findall(_REASON, text)),
        }
    return {each for each in found if each[1] not in CODES}


def test_every_call_and_every_failure_of_the_contract_is_tried():
    tried = {*CASES, *ELSEWHERE}
    assert documented() - tried == set()
    assert {each for each in tried if each[1] not in OF_EVERY_CALL} - documented() == set()
    assert {method for method, _ in documented()} == {each.name for each in SERVICE.methods}
    learners = {name.removeprefix("user.") for name, rule in RULES.items() if rule.learner}
    assert set(GOOD) == learners & {each.name for each in SERVICE.methods}


@pytest.mark.parametrize("method", sorted(DONE_BY))
def test_the_contract_tells_of_every_failure_that_the_code_knows_of(method: str):
    """DeleteAccount could be tried too often, and its comment did not say so."""
    known = set(re.findall(_REASON, inspect.getdoc(DONE_BY[method]) or "")) - CODES
    told = {reason for name, reason in documented() if name == method}
    assert known <= told | OF_EVERY_CALL


def test_every_reason_of_the_service_stands_in_its_contract():
    reasons = {
        reason
        for path in Path(user_service.__path__[0]).rglob("*.py")
        for reason in re.findall(rf'reason="({_REASON})"', path.read_text("utf-8"))
    }
    assert reasons
    assert reasons <= {reason for _, reason in documented()} | OF_EVERY_CALL
    assert set(DONE_BY) == {each.name for each in SERVICE.methods} - {"GetJwks"}


@pytest.mark.parametrize(("module", "name"), sorted(ELSEWHERE.values()), ids=lambda each: each)
def test_what_is_tried_elsewhere_is_there(module: str, name: str):
    assert callable(getattr(import_module(module), name))
