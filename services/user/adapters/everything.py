"""What history and media keep of one learner, asked under a token that this service signs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from parley.history.v1 import history_pb2
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.types.v1 import audio_pb2
from services.common.status import rpc_errors
from services.common.timestamps import from_timestamp
from services.user.exporting import Recorded

if TYPE_CHECKING:
    from services.common.channel import Peers

_FORMS = {
    "text": history_pb2.EXPORT_FORMAT_TEXT,
    "json_lines": history_pb2.EXPORT_FORMAT_JSON_LINES,
}
_VOICES = {
    "learner": audio_pb2.AUDIO_TRACK_LEARNER,
    "tutor": audio_pb2.AUDIO_TRACK_TUTOR,
}

# The largest page of the contract.
_PAGE = 100


class GrpcEverything:
    """`services.user.exporting.Everything` for one learner.

    token: returns an access token of the learner's; a new one for each call, since an archive can
        take longer than one lives. What it raises, because they were signed out meanwhile, ends
        the archive.
    """

    def __init__(self, peers: Peers, token: Callable[[], Awaitable[str]]) -> None:
        self._history = HistoryServiceStub(peers.channel("history"))
        self._media = MediaServiceStub(peers.channel("media"))
        self._token = token

    async def transcripts(self, form: str) -> AsyncIterator[bytes]:
        """Yield the conversations as a file."""
        request = history_pb2.ExportConversationsRequest(format=_FORMS[form])
        metadata = await self._metadata()
        with rpc_errors("history"):
            call = self._history.ExportConversations(request, metadata=metadata)
            try:
                async for answer in call:
                    yield answer.chunk
            finally:
                call.cancel()

    async def recordings(self) -> Sequence[Recorded]:
        """Return every recording: of conversations, and of files that were sent in."""
        found: list[Recorded] = []
        token = ""
        while True:
            request = media_pb2.ListRecordingsRequest(page_size=_PAGE, page_token=token)
            metadata = await self._metadata()
            with rpc_errors("media"):
                page = await self._media.ListRecordings(request, metadata=metadata)
            found += [_recorded(each) for each in page.recordings]
            token = page.next_page_token
            if not token:
                return found

    async def sound(self, recording_id: str, voice: str) -> AsyncIterator[bytes]:
        """Yield a voice of a recording, as FLAC."""
        request = media_pb2.DownloadRecordingRequest(
            recording_id=recording_id,
            track=_VOICES[voice],
            encoding=audio_pb2.AUDIO_ENCODING_FLAC,
        )
        metadata = await self._metadata()
        with rpc_errors("media"):
            call = self._media.DownloadRecording(request, metadata=metadata)
            try:
                async for answer in call:
                    if answer.chunk:
                        yield answer.chunk
            finally:
                call.cancel()

    async def _metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {await self._token()}")]


def _recorded(message: media_pb2.Recording) -> Recorded:
    voices = [name for name, track in _VOICES.items() if track in message.tracks]
    return Recorded(
        message.recording_id,
        from_timestamp(message.started_at),
        voices,
        # A file that came without a name is one all the same.
        message.file_name or ("" if message.conversation_id else "(unnamed)"),
    )
