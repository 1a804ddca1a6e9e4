"""The same messages where the data is kept in PostgreSQL, which takes less than SQLite does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from parley.history.v1 import history_pb2
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from parley.types.v1 import learner_pb2
from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.status import from_rpc_error
from tests.e2e.caller import RawTalk
from tests.fuzz.calling import fuzz
from tests.fuzz.target import PASSWORD, Target, in_process
from tests.postgres import empty_database

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
    pytest.mark.leaves_behind("what the services of all these tests keep: sessions, pools"),
]

MESSAGES = 200
SEED = "77"
NUL = "a\0b"


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    with empty_database(postgres_url) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(database: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    async with in_process(tmp_path_factory.mktemp("fuzz"), database) as found:
        yield found


@pytest.mark.parametrize("service", ["user", "conversation", "history", "media"])
async def test_messages_of_any_bytes_break_nothing_on_postgresql_either(
    target: Target, service: str
):
    outcome = await fuzz(target, service, MESSAGES, SEED)
    assert outcome.wrong == []


FOUND: list[tuple[str, str, Any, str]] = [
    ("user", "Login", user_pb2.LoginRequest(username=NUL, password=PASSWORD), "username"),
    (
        "user",
        "Login",
        user_pb2.LoginRequest(username="somebody", password=PASSWORD, device_name=NUL),
        "device_name",
    ),
    (
        "user",
        "Register",
        user_pb2.RegisterRequest(username="somebody", password=PASSWORD, device_name=NUL),
        "device_name",
    ),
    (
        "user",
        "UpdateProfile",
        user_pb2.UpdateProfileRequest(
            account=user_pb2.Account(profile=learner_pb2.LearnerProfile(display_name=NUL))
        ),
        "account.profile.display_name",
    ),
    (
        "history",
        "ListConversations",
        history_pb2.ListConversationsRequest(scenario_id=NUL),
        "scenario_id",
    ),
    ("history", "SearchTurns", history_pb2.SearchTurnsRequest(query=NUL), "query"),
]
"""What once ended with INTERNAL, or was stored as it came."""


@pytest.mark.parametrize(
    ("service", "method", "request_", "field"), FOUND, ids=lambda each: str(each)[:40]
)
async def test_a_text_that_postgresql_cannot_store_is_a_typed_refusal(
    target: Target, service: str, method: str, request_: Any, field: str
):
    stubs: dict[str, Any] = {"user": UserServiceStub, "history": HistoryServiceStub}
    stub = stubs[service](target.channels[service])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, method)(request_, metadata=target.learners[0].metadata)
    error = from_rpc_error(caught.value)
    assert error.reason == "INVALID_REQUEST"
    assert [each.field for each in error.fields] == [field]


async def test_a_text_that_cannot_be_stored_is_refused_in_a_talk_which_goes_on(target: Target):
    talker = await target.talker()
    talk = RawTalk(talker)
    await talk.start()
    await talk.send(text={"text": NUL})
    await talk.until("notice")
    assert [each.reason for each in talk.notices] == ["INVALID_REQUEST"]
    await talk.send(text={"text": "One line,\nand another."})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")
    await talker.channel.close()
