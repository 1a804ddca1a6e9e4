"""The bare server answers with what was recorded, and with nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import grpc
import grpc.aio
import pytest

from bench.ghz_bare import BareConversationServicer, BareUserServicer, OneRow, pack, unpack
from parley.conversation.v1 import conversation_pb2 as pb
from parley.conversation.v1 import conversation_pb2_grpc
from parley.user.v1 import user_pb2, user_pb2_grpc

RECORDED = [
    pb.ConverseResponse(seq=1, started=pb.SessionStarted(conversation_id="c")),
    pb.ConverseResponse(seq=2, reply_text=pb.ReplyText(text="Hello.")),
    pb.ConverseResponse(seq=3, reply_ended=pb.ReplyEnded(heard_text="Hello.")),
    pb.ConverseResponse(seq=4, ended=pb.SessionEnded()),
]


@pytest.fixture
def row(tmp_path):
    row = OneRow(tmp_path / "bare.sqlite3")
    yield row
    row.close()


@pytest.fixture
async def channel(row):
    server = grpc.aio.server()
    account = user_pb2.Account(username="ana")
    answers = {
        "GetJwks": user_pb2.GetJwksResponse(jwks_json="{}"),
        "GetProfile": user_pb2.GetProfileResponse(account=account),
        "UpdateProfile": user_pb2.UpdateProfileResponse(account=account),
    }
    user_pb2_grpc.add_UserServiceServicer_to_server(BareUserServicer(answers, row.keep), server)
    conversation_pb2_grpc.add_ConversationServiceServicer_to_server(
        BareConversationServicer(RECORDED), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as open_channel:
        yield open_channel
    await server.stop(None)


async def test_unary_methods_return_the_constants(channel):
    stub = user_pb2_grpc.UserServiceStub(channel)
    assert (await stub.GetJwks(user_pb2.GetJwksRequest())).jwks_json == "{}"
    profile = await stub.GetProfile(user_pb2.GetProfileRequest())
    assert profile.account.username == "ana"


async def test_a_method_that_changes_something_is_kept_before_it_is_answered(channel, tmp_path):
    stub = user_pb2_grpc.UserServiceStub(channel)
    for _ in range(3):
        answer = await stub.UpdateProfile(user_pb2.UpdateProfileRequest())
    assert answer.account.username == "ana"
    with closing(sqlite3.connect(tmp_path / "bare.sqlite3")) as database:
        assert database.execute("SELECT count FROM kept").fetchone() == (3,)


async def test_a_method_that_is_not_measured_is_not_there(channel):
    stub = user_pb2_grpc.UserServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.Login(user_pb2.LoginRequest())
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_conversation_is_answered_as_it_was_recorded(channel):
    call = conversation_pb2_grpc.ConversationServiceStub(channel).Converse()
    await call.write(pb.ConverseRequest(start=pb.StartSession()))
    assert await call.read() == RECORDED[0]
    await call.write(pb.ConverseRequest(text=pb.LearnerText(text="Hi.")))
    assert [await call.read(), await call.read()] == RECORDED[1:3]
    await call.write(pb.ConverseRequest(finish=pb.Finish()))
    assert await call.read() == RECORDED[3]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


def test_packed_messages_come_back():
    assert unpack(pack(RECORDED)) == RECORDED
    assert unpack(b"") == []
