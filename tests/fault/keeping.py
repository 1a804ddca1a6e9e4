"""What must hold after a bad day, asked of Parley as a learner would."""

from __future__ import annotations

import asyncio
import io
import time

import av
import grpc
import grpc.aio

from parley.ai.v1 import ai_pb2
from parley.conversation.v1 import conversation_pb2
from parley.history.v1 import history_pb2
from parley.media.v1 import media_pb2
from parley.types.v1 import audio_pb2, turn_pb2
from parley_cli.client.parley_client import ParleyClient
from parley_cli.failures import CliFailure

_ASKED_EVERY_S = 0.3
# History lags by seconds, and a recording that broke is given its time to be continued.
_PATIENCE_S = 90.0


class NotKeptError(AssertionError):
    """Something that was promised is not there; the message says what."""


async def turns_in_history(
    client: ParleyClient, conversation_id: str, count: int
) -> list[turn_pb2.Turn]:
    """Return the turns that history has, as they come, once it has `count` of them.

    Where it does not get so many in time, those that it has: the judge names what is missing.
    """
    request = history_pb2.GetConversationRequest(conversation_id=conversation_id, page_size=500)
    found: list[turn_pb2.Turn] = []
    deadline = time.monotonic() + _PATIENCE_S
    while len(found) < count and time.monotonic() < deadline:
        try:
            response = await client.call(client.history.GetConversation, request)
        except CliFailure:
            await asyncio.sleep(_ASKED_EVERY_S)
            continue
        found = [each.turn for each in response.turns]
        await asyncio.sleep(_ASKED_EVERY_S if len(found) < count else 0)
    return found


async def recording_of(client: ParleyClient, conversation_id: str) -> media_pb2.Recording:
    """Return the recording of a conversation, once it is ready.

    Raises:
        NotKeptError: it could not be kept, or is not ready in time.
    """
    request = media_pb2.GetRecordingRequest(conversation_id=conversation_id)
    deadline = time.monotonic() + _PATIENCE_S
    seen = "never asked"
    while time.monotonic() < deadline:
        try:
            found = (await client.call(client.media.GetRecording, request)).recording
        except CliFailure as failure:
            seen = str(failure)
        else:
            if found.state == media_pb2.RECORDING_STATE_READY:
                return found
            seen = f"{media_pb2.RecordingState.Name(found.state)} {found.failure}"
            if found.state == media_pb2.RECORDING_STATE_FAILED:
                break
        await asyncio.sleep(_ASKED_EVERY_S)
    raise NotKeptError(f"the recording of {conversation_id} is not ready: {seen}")


async def played_ms(client: ParleyClient, recording_id: str) -> int:
    """Download a recording as a player does, decode all of it, and return how long it is."""
    request = media_pb2.DownloadRecordingRequest(
        recording_id=recording_id, encoding=audio_pb2.AUDIO_ENCODING_FLAC
    )
    data = bytearray()
    async for piece in client.stream(client.media.DownloadRecording, request):
        data += piece.chunk
    return await asyncio.to_thread(_decoded_ms, bytes(data))


def _decoded_ms(data: bytes) -> int:
    samples = rate = 0
    with av.open(io.BytesIO(data), "r") as file:
        for frame in file.decode(audio=0):
            samples, rate = samples + frame.samples, frame.sample_rate
    return samples * 1000 // rate if rate else 0


async def is_admitted(client: ParleyClient, token: str) -> bool:
    """Tell whether any service but the one that gave it takes an access token.

    Raises:
        grpc.aio.AioRpcError: one fails otherwise than by refusing it.
    """
    metadata = (("authorization", f"Bearer {token}"),)
    admitted = False
    for method, request in (
        (client.history.ListConversations, history_pb2.ListConversationsRequest()),
        (client.media.ListRecordings, media_pb2.ListRecordingsRequest()),
        (client.conversation.ListScenarios, conversation_pb2.ListScenariosRequest()),
        (client.ai.ListVoices, ai_pb2.ListVoicesRequest()),
    ):
        try:
            await method(request, metadata=metadata, timeout=15)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                raise
        else:
            admitted = True
    return admitted
