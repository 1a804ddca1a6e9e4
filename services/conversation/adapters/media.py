"""Streams to the media service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc.aio

from parley.media.v1 import media_pb2
from services.common.errors import Unavailable
from services.common.status import rpc_errors

if TYPE_CHECKING:
    from parley.media.v1.media_pb2_grpc import MediaServiceAsyncStub


class GrpcRecordings:
    """Recordings of the media service. See `recorder.Recordings`."""

    def __init__(self, stub: MediaServiceAsyncStub) -> None:
        self._stub = stub

    @asynccontextmanager
    async def open(self, start: media_pb2.RecordStart) -> AsyncIterator[GrpcRecordStream]:
        """Open a stream and send its start."""
        call = self._stub.Record()
        try:
            stream = GrpcRecordStream(call)
            await stream.send(media_pb2.RecordRequest(start=start))
            yield stream
        finally:
            call.cancel()


class GrpcRecordStream:
    """One call of `media.v1.Record`. See `recorder.RecordStream`."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def send(self, request: media_pb2.RecordRequest) -> None:
        """Send one message."""
        with rpc_errors("media"), _broken():
            await self._call.write(request)

    async def done(self) -> None:
        """Say that nothing more will be sent."""
        with rpc_errors("media"), _broken():
            await self._call.done_writing()

    async def responses(self) -> AsyncIterator[media_pb2.RecordResponse]:
        """Iterate over the answers."""
        with rpc_errors("media"):
            while True:
                response = await self._call.read()
                if response is grpc.aio.EOF:
                    break
                yield response
            code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            raise Unavailable("The media service broke off.", reason="PEER_UNAVAILABLE")


class _broken:  # noqa: N801 - used as a context manager, like contextlib's own
    """A write to a call that is over raises InvalidStateError; it means the same as its status."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: object, _trace: object) -> None:
        if kind is not None and issubclass(kind, asyncio.InvalidStateError):
            raise Unavailable("The media service broke off.", reason="PEER_UNAVAILABLE")
