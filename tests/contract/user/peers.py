"""The services beside the user service, as small as its tests need them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from parley.conversation.v1 import conversation_pb2, conversation_pb2_grpc
from parley.history.v1 import history_pb2, history_pb2_grpc
from parley.media.v1 import media_pb2, media_pb2_grpc
from parley.types.v1 import audio_pb2
from services.common.errors import NotFound
from services.common.status import DETAILS_KEY, to_status

BEGAN = 1_770_000_000
"""When the conversations of these peers began, in seconds since the epoch."""


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class FakePeers:
    """What the peers have, and what was asked of them.

    kept: how many conversations or recordings each service has of whoever is erased.
    recordings, uploads: ids of recordings; of uploaded files, with their names.
    away: services that answer UNAVAILABLE.
    erased: who was erased where, in order.
    tokens: the `authorization` of every call that came with one.
    sounds: recordings are sent while it is set.
    asked: released by whoever asks for one.
    """

    kept: dict[str, int] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    erased: list[tuple[str, str]] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)
    uploads: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    sound: bytes = b"fLaC" * 40_000
    tokens: list[str] = field(default_factory=list)
    sounds: asyncio.Event = field(default_factory=_set)
    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def erase(self, service: str, user_id: str, context: Any) -> int:
        if service in self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.erased.append((service, user_id))
        return self.kept.pop(service, 0)

    def note(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        if "authorization" in metadata:
            self.tokens.append(str(metadata["authorization"]))


class _Conversation(conversation_pb2_grpc.ConversationServiceServicer):
    def __init__(self, peers: FakePeers) -> None:
        self._peers = peers

    async def EraseUser(self, request: Any, context: Any) -> Any:
        erased = await self._peers.erase("conversation", request.user_id, context)
        return conversation_pb2.EraseUserResponse(erased=erased)


class _History(history_pb2_grpc.HistoryServiceServicer):
    def __init__(self, peers: FakePeers) -> None:
        self._peers = peers

    async def EraseUser(self, request: Any, context: Any) -> Any:
        erased = await self._peers.erase("history", request.user_id, context)
        return history_pb2.EraseUserResponse(erased=erased)

    async def ExportConversations(self, request: Any, context: Any) -> None:
        self._peers.note(context)
        text = request.format == history_pb2.EXPORT_FORMAT_TEXT
        for chunk in (b"You:   I go", b"ed home.\n") if text else (b'{"turns": []', b"}\n"):
            await context.write(history_pb2.ExportConversationsResponse(chunk=chunk))


class _Media(media_pb2_grpc.MediaServiceServicer):
    def __init__(self, peers: FakePeers) -> None:
        self._peers = peers

    async def EraseUser(self, request: Any, context: Any) -> Any:
        erased = await self._peers.erase("media", request.user_id, context)
        return media_pb2.EraseUserResponse(erased=erased)

    async def ListRecordings(self, request: Any, context: Any) -> Any:
        self._peers.note(context)
        if "media" in self._peers.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        both = (audio_pb2.AUDIO_TRACK_LEARNER, audio_pb2.AUDIO_TRACK_TUTOR)
        began = Timestamp(seconds=BEGAN)
        listed = [
            media_pb2.Recording(
                recording_id=each, conversation_id=each, started_at=began, tracks=both
            )
            for each in self._peers.recordings
        ]
        listed += [
            media_pb2.Recording(
                recording_id=each, file_name=name, started_at=began, tracks=both[:1]
            )
            for each, name in self._peers.uploads.items()
        ]
        # A page each: nobody may stop after the first.
        at = int(request.page_token or 0)
        more = at + 1 < len(listed)
        return media_pb2.ListRecordingsResponse(
            recordings=listed[at : at + 1], next_page_token=str(at + 1) if more else ""
        )

    async def DownloadRecording(self, request: Any, context: Any) -> None:
        self._peers.note(context)
        if "media" in self._peers.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        if request.recording_id in self._peers.lost:
            status = to_status(NotFound("No such recording.", reason="RECORDING_NOT_FOUND"))
            context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
            await context.abort(grpc.StatusCode.NOT_FOUND, "No such recording.")
        assert request.encoding == audio_pb2.AUDIO_ENCODING_FLAC
        self._peers.asked.release()
        await self._peers.sounds.wait()
        await context.write(media_pb2.DownloadRecordingResponse(info=media_pb2.DownloadInfo()))
        sound = self._peers.sound
        for at in range(0, len(sound), 50_000):
            chunk = sound[at : at + 50_000]
            await context.write(media_pb2.DownloadRecordingResponse(chunk=chunk))


@contextlib.asynccontextmanager
async def serve(peers: FakePeers) -> AsyncIterator[str]:
    """Serve all three on one port; yield its address."""
    server = grpc.aio.server()
    conversation_pb2_grpc.add_ConversationServiceServicer_to_server(_Conversation(peers), server)
    history_pb2_grpc.add_HistoryServiceServicer_to_server(_History(peers), server)
    media_pb2_grpc.add_MediaServiceServicer_to_server(_Media(peers), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
