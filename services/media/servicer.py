"""media.v1 over gRPC: translate, call, translate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import grpc.aio

from parley.media.v1 import media_pb2 as pb
from parley.media.v1 import media_pb2_grpc
from services.common.access import USER, service, user_or_service
from services.common.audit import AuditTrail
from services.common.call_context import caller, caller_or_none
from services.common.clock import Clock
from services.common.errors import DeadlineExceeded, FailedPrecondition
from services.common.limits import DEFAULT_LIMITS
from services.common.timestamps import to_timestamp
from services.media import translate
from services.media.finisher import Finisher
from services.media.library import Library
from services.media.player import Player
from services.media.recorder import LiveRecording, Recorder
from services.media.recordings import Recording, Track
from services.media.renditions import byte_range
from services.media.uploads import Upload, Uploads

ACCESS = {
    "Record": service("conversation"),
    "UploadAudio": USER,
    "GetRecording": USER,
    "ListRecordings": USER,
    "DownloadRecording": USER,
    "CreateDownloadUrl": USER,
    # History deletes the recording of a conversation that was deleted, long after that call.
    "DeleteRecording": user_or_service("history"),
    "EraseUser": service("user"),
}
"""Who may call what."""

CHUNK_BYTES = 64 * 1024
"""The contract's bound of one piece."""

PIECE_MESSAGE_BYTES = DEFAULT_LIMITS.max_piece_message_bytes
"""A full piece of audio or of a file with the fields around it."""

_UPLOAD_IDLE_SECONDS = DEFAULT_LIMITS.upload_idle_seconds
"""An upload that stands still this long has lost its sender; its file must not be kept for ever."""

_DEFAULT_LINK_LIFETIME = timedelta(minutes=10)

_Context = grpc.aio.ServicerContext[Any, Any]


class MediaServicer(media_pb2_grpc.MediaServiceServicer):
    """A learner reaches their own recordings only, under the id of the verified token.

    audit: notes what of them leaves.
    """

    def __init__(
        self,
        recorder: Recorder,
        finisher: Finisher,
        library: Library,
        player: Player,
        uploads: Uploads,
        clock: Clock,
        audit: AuditTrail,
    ) -> None:
        self._recorder = recorder
        self._finisher = finisher
        self._library = library
        self._player = player
        self._uploads = uploads
        self._clock = clock
        self._audit = audit

    async def Record(self, request_iterator: object, context: _Context) -> None:
        """Record both sides of a conversation."""
        first = await _read(context)
        if first is None or first.WhichOneof("message") != "start":
            raise FailedPrecondition("The first message must be `start`.", reason="START_REQUIRED")
        recording = translate.to_recording(first.start, self._clock.now())
        async with self._recorder.open(recording) as live:
            finished = None
            if isinstance(live, LiveRecording):
                await context.write(translate.from_lengths(live.on_disk))
                finished = await self._take(live, context)
                if finished is None:
                    # The sender closed without `finish`: it may come back.
                    await context.write(translate.from_lengths(await live.flush()))
                    return
        duration_ms = finished.duration_ms if finished is not None else 0
        stored = await self._finisher.finish(recording.recording_id, duration_ms)
        await context.write(translate.from_finished(stored))

    async def UploadAudio(
        self, request_iterator: object, context: _Context
    ) -> pb.UploadAudioResponse:
        """Store a file of the caller's."""
        first = await _next_piece(context)
        if first is None or first.WhichOneof("message") != "metadata":
            raise FailedPrecondition(
                "The first message must be `metadata`.", reason="START_REQUIRED"
            )
        metadata = first.metadata
        upload = Upload(
            caller().user_id, metadata.file_name, metadata.size_bytes, metadata.request_id.lower()
        )
        recording = await self._uploads.store(upload, _chunks(context))
        return pb.UploadAudioResponse(recording=translate.from_recording(recording))

    async def GetRecording(
        self, request: pb.GetRecordingRequest, context: _Context
    ) -> pb.GetRecordingResponse:
        """Tell about one of the caller's recordings."""
        user_id = caller().user_id
        if request.WhichOneof("key") == "conversation_id":
            found = await self._library.of_conversation(user_id, request.conversation_id.lower())
        else:
            found = await self._library.get(user_id, request.recording_id.lower())
        return pb.GetRecordingResponse(recording=translate.from_recording(found))

    async def ListRecordings(
        self, request: pb.ListRecordingsRequest, context: _Context
    ) -> pb.ListRecordingsResponse:
        """List the caller's recordings."""
        found, token = await self._library.page(
            caller().user_id, request.page_size, request.page_token.lower()
        )
        # A page of waveforms of long conversations would be larger than a message may be.
        listed = [translate.from_recording(replace(each, waveform=b"")) for each in found]
        return pb.ListRecordingsResponse(recordings=listed, next_page_token=token)

    async def DownloadRecording(
        self, request: pb.DownloadRecordingRequest, context: _Context
    ) -> None:
        """Stream a recording."""
        encoding = translate.to_encoding(request.encoding)
        recording = await self._own(request.recording_id)
        async with self._player.open(
            recording, translate.to_track(request.track), encoding, request.from_ms, request.to_ms
        ) as playback:
            offset, length = byte_range(playback.total_bytes, request.offset, request.length)
            rendition = playback.rendition
            # A player asks for many ranges of one file.
            self._audit.note_once_a_minute(
                (recording.recording_id, playback.file_name),
                "recording_downloaded",
                user_id=recording.user_id,
                recording_id=recording.recording_id,
                file=rendition.file_name,
            )
            info = pb.DownloadInfo(
                content_type=encoding.content_type,
                total_bytes=playback.total_bytes,
                file_name=playback.file_name,
                duration_ms=rendition.duration_ms,
            )
            await context.write(pb.DownloadRecordingResponse(info=info))
            async for chunk in playback.pieces(offset, length, CHUNK_BYTES):
                await context.write(pb.DownloadRecordingResponse(chunk=chunk))

    async def CreateDownloadUrl(
        self, request: pb.CreateDownloadUrlRequest, context: _Context
    ) -> pb.CreateDownloadUrlResponse:
        """Make a link."""
        encoding = translate.to_encoding(request.encoding)
        recording = await self._own(request.recording_id)
        lifetime = _DEFAULT_LINK_LIFETIME
        if request.HasField("ttl"):
            lifetime = request.ttl.ToTimedelta()
        url, expires_at = await self._player.link(
            recording, translate.to_track(request.track), encoding, lifetime
        )
        self._audit.note(
            "download_link_made",
            user_id=recording.user_id,
            recording_id=recording.recording_id,
            until=expires_at.isoformat(timespec="seconds"),
        )
        return pb.CreateDownloadUrlResponse(url=url, expires_at=to_timestamp(expires_at))

    async def DeleteRecording(
        self, request: pb.DeleteRecordingRequest, context: _Context
    ) -> pb.DeleteRecordingResponse:
        """Delete a recording: the caller's own, or the one that an authenticated service names."""
        learner = caller_or_none()
        recording_id = request.recording_id.lower()
        if learner is not None:
            await self._library.delete(learner.user_id, recording_id)
        else:
            await self._library.delete_any(recording_id)
        return pb.DeleteRecordingResponse()

    async def EraseUser(
        self, request: pb.EraseUserRequest, context: _Context
    ) -> pb.EraseUserResponse:
        """Delete everything of a user whose account was deleted."""
        erased, remaining = await self._library.erase_user(request.user_id.lower())
        return pb.EraseUserResponse(erased=erased, remaining=remaining)

    async def _own(self, recording_id: str) -> Recording:
        return await self._library.get(caller().user_id, recording_id.lower())

    async def _take(self, live: LiveRecording, context: _Context) -> pb.RecordFinish | None:
        """Take audio until `finish` (returned), or the sender closes (None)."""

        async def acknowledge(lengths: dict[Track, int]) -> None:
            await context.write(translate.from_lengths(lengths))

        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(live.keep_flushing(self._clock, acknowledge)),
                group.create_task(live.until_ended()),
            ]
            finish = await _read_audio(live, context)
            for task in beside:
                task.cancel()
        return finish


async def _read_audio(live: LiveRecording, context: _Context) -> pb.RecordFinish | None:
    while (request := await _read(context)) is not None:
        match request.WhichOneof("message"):
            case "audio":
                audio = request.audio
                await live.add(Track(audio.track), audio.first_sample, audio.pcm)
            case "finish":
                live.check_duration(request.finish.duration_ms)
                return request.finish
            case _:
                raise FailedPrecondition(
                    "`start` came a second time on one stream.", reason="ALREADY_STARTED"
                )
    return None


async def _read(context: _Context) -> pb.RecordRequest | None:
    """Return the next message; None when the sender has closed."""
    request = await context.read()
    return None if request is grpc.aio.EOF else cast(pb.RecordRequest, request)


async def _chunks(context: _Context) -> AsyncIterator[bytes]:
    while (request := await _next_piece(context)) is not None:
        if request.WhichOneof("message") != "chunk":
            raise FailedPrecondition("`metadata` came a second time.", reason="ALREADY_STARTED")
        yield request.chunk


async def _next_piece(context: _Context) -> pb.UploadAudioRequest | None:
    """Return the next message of an upload; None when the sender has closed.

    Raises:
        DeadlineExceeded: DEADLINE_EXCEEDED. Not a `TimeoutError`: that is an `OSError` as well, and
            would be taken for the disk's.
    """
    try:
        async with asyncio.timeout(_UPLOAD_IDLE_SECONDS):
            request = await context.read()
    except TimeoutError:
        raise DeadlineExceeded(
            "Nothing of the file came for too long.", reason="DEADLINE_EXCEEDED"
        ) from None
    return None if request is grpc.aio.EOF else cast(pb.UploadAudioRequest, request)
