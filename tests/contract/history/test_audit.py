"""Who read, exported or deleted a conversation is in the trail, under ids; what was said is not."""

import json
from typing import Any

from parley.history.v1 import history_pb2 as pb
from services.common.ids import new_id
from tests.contract.history.conftest import History, Tell

SAID = "the canarybird sang"


def trail(history: History) -> list[dict[str, Any]]:
    (file,) = history.audit_dir.iterdir()
    written = file.read_text("utf-8")
    assert "canarybird" not in written
    return [json.loads(line) for line in written.splitlines()]


async def test_what_leaves_and_what_is_deleted_is_noted(history: History, tell: Tell):
    told = tell()
    await history.ingest(told.started(), told.turn(1, SAID, "canarybird"))
    get = pb.GetConversationRequest(conversation_id=told.conversation_id)
    delete = pb.DeleteConversationRequest(conversation_id=told.conversation_id)
    await history.ask("ListConversations", pb.ListConversationsRequest())
    await history.ask("GetConversation", get)
    await history.ask("SearchTurns", pb.SearchTurnsRequest(query="canarybird"))
    for ids in ([], [told.conversation_id]):
        export = pb.ExportConversationsRequest(conversation_ids=ids)
        identity = history.callers.user(history.user_id)
        assert [each async for each in history.stub.ExportConversations(export, metadata=identity)]
    await history.ask("DeleteConversation", delete)
    await history.ask("DeleteConversation", delete)
    lines = trail(history)
    assert [each["event"] for each in lines] == [
        "conversation_read",
        "turns_searched",
        "conversations_exported",
        "conversations_exported",
        "conversation_deleted",
    ]
    assert {each["user_id"] for each in lines} == {history.user_id}
    assert all(each["session_id"] and each["request_id"] for each in lines)
    named = [each.get("conversation_id") or each.get("conversation_ids") for each in lines]
    its_id = told.conversation_id
    assert named == [its_id, None, "all", [its_id], its_id]


async def test_who_asks_for_another_users_conversation_is_noted(history: History, tell: Tell):
    told, stranger = tell(), new_id()
    await history.ingest(told.started(), told.turn(1, SAID))
    ids = {"conversation_id": told.conversation_id}
    for method, request in (
        ("GetConversation", pb.GetConversationRequest(**ids)),
        ("DeleteConversation", pb.DeleteConversationRequest(**ids)),
        ("GetConversation", pb.GetConversationRequest(conversation_id=new_id())),
    ):
        await history.refused(history.ask(method, request, stranger))
    noted = {"user_id": stranger, **ids}
    lines = trail(history)
    assert [each["event"] for each in lines] == 2 * ["anothers_conversation_refused"]
    assert [{name: each[name] for name in noted} for each in lines] == [noted, noted]


async def test_a_read_that_is_repeated_is_noted_once_and_each_sign_ins_own(
    history: History, tell: Tell
):
    told = tell()
    await history.ingest(told.started(), told.turn(1, SAID))
    get = pb.GetConversationRequest(conversation_id=told.conversation_id)
    one, other = history.callers.user(told.user_id), history.callers.user(told.user_id)
    for identity in (one, one, other, one):
        await history.stub.GetConversation(get, metadata=identity)
    assert len({each["session_id"] for each in trail(history)}) == len(trail(history)) == 2


async def test_what_is_erased_with_an_account_is_noted_with_who_asked(history: History, tell: Tell):
    told = tell()
    await history.ingest(told.started(), told.turn(1, SAID))
    for _ in range(2):
        await history.stub.EraseUser(
            pb.EraseUserRequest(user_id=told.user_id), metadata=history.callers.service("user")
        )
    (line,) = trail(history)
    assert (line["event"], line["conversations"], line["service"]) == ("user_erased", 1, "user")
