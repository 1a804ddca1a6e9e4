"""DeleteConversation: gone for good, with its recording, whatever is down at that moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from parley.history.v1 import history_pb2 as pb
from parley.media.v1 import media_pb2, media_pb2_grpc
from services.common.errors import Code
from services.common.ids import new_id
from tests.contract.history.conftest import History, Serve, Tell, Told


class Media(media_pb2_grpc.MediaServiceServicer):
    """A media service that notes what it is asked to delete, after failing `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.deleted: list[str] = []
        self.identified: list[bool] = []
        self.asked = asyncio.Event()

    async def DeleteRecording(self, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        self.identified.append("x-parley-service-authorization" in metadata)
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        self.deleted.append(request.recording_id)
        self.asked.set()
        return media_pb2.DeleteRecordingResponse()


@asynccontextmanager
async def serving(media: Media) -> AsyncIterator[str]:
    server = grpc.aio.server()
    media_pb2_grpc.add_MediaServiceServicer_to_server(media, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def deletion(told: Told) -> Any:
    return pb.DeleteConversationRequest(conversation_id=told.conversation_id)


async def test_a_deleted_conversation_is_gone_everywhere(history: History, tell: Tell) -> None:
    told, kept = tell(), tell()
    turn = told.turn(1, "forget me", "forget me too")
    await history.ingest(told.started(), turn, told.assessed(turn.turn.turn_id, ("a", "b")))
    await history.ingest(kept.started(), kept.turn(1, "forget me not"))
    await history.ask("DeleteConversation", deletion(told))
    request = pb.GetConversationRequest(conversation_id=told.conversation_id)
    error = await history.refused(history.ask("GetConversation", request))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "CONVERSATION_NOT_FOUND")
    listed = await history.ask("ListConversations", pb.ListConversationsRequest())
    assert [each.conversation_id for each in listed.conversations] == [kept.conversation_id]
    found = await history.ask("SearchTurns", pb.SearchTurnsRequest(query="forget me"))
    assert [each.conversation_id for each in found.matches] == [kept.conversation_id]
    assert not (await history.ask("ListMistakes", pb.ListMistakesRequest())).mistakes


async def test_deleting_twice_is_fine(history: History, tell: Tell) -> None:
    told = tell()
    await history.ingest(told.started())
    for _ in range(2):
        await history.ask("DeleteConversation", deletion(told))


@pytest.mark.parametrize("exists", [True, False])
async def test_only_ones_own_conversation_can_be_deleted(
    history: History, tell: Tell, exists: bool
) -> None:
    told = tell()
    if exists:
        await history.ingest(told.started())
    error = await history.refused(history.ask("DeleteConversation", deletion(told), new_id()))
    assert (error.code, error.reason) == (Code.NOT_FOUND, "CONVERSATION_NOT_FOUND")


async def test_a_late_event_does_not_bring_it_back(history: History, tell: Tell) -> None:
    told = tell()
    started = told.started()
    await history.ingest(started)
    await history.ask("DeleteConversation", deletion(told))
    late = await history.ingest(started, told.turn(1, "too late"), told.ended())
    assert (late.stored, late.known) == (0, 3)
    listed = await history.ask("ListConversations", pb.ListConversationsRequest())
    assert not listed.conversations
    assert not (await history.ask("SearchTurns", pb.SearchTurnsRequest(query="late"))).matches


async def test_the_recording_is_deleted_though_media_fails_at_first(serve_history: Serve) -> None:
    media = Media(failures=2)
    async with serving(media) as address, serve_history(media_address=address) as history:
        told, recording_id = Told(history.user_id, new_id()), new_id()
        await history.ingest(told.started(), told.recording(recording_id))
        await history.ask("DeleteConversation", deletion(told))
        async with asyncio.timeout(20):
            await media.asked.wait()
    assert media.deleted == [recording_id]
    assert all(media.identified)


async def test_a_recording_that_is_told_of_after_the_deletion_goes_too(
    serve_history: Serve,
) -> None:
    """Also when history was restarted, and media was away, in between."""

    media, recording_id = Media(), new_id()
    async with serve_history() as history:
        told = Told(history.user_id, new_id())
        await history.ingest(told.started())
        await history.ask("DeleteConversation", deletion(told))
        await history.ingest(told.recording(recording_id))
    async with serving(media) as address, serve_history(media_address=address):
        async with asyncio.timeout(20):
            await media.asked.wait()
    assert media.deleted == [recording_id]
