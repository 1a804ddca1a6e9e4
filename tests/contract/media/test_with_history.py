"""History and media together: a deleted conversation takes its recording along."""

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio

from parley.history.v1 import history_pb2
from parley.history.v1.history_pb2_grpc import HistoryServiceStub
from parley.media.v1 import media_pb2 as pb
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from services.common.clock import SystemClock
from services.common.errors import Code
from services.common.ids import new_id
from services.common.lifecycle import running
from services.common.service_identity import ServiceSigner
from services.common.timestamps import to_timestamp
from services.history.bootstrap import bootstrap as bootstrap_history
from services.history.settings import HistorySettings
from services.media.bootstrap import bootstrap as bootstrap_media
from services.media.settings import MediaSettings
from tests.contract.media.conftest import Callers, Media, tone


async def test_a_deleted_conversation_takes_its_recording_along(
    data_dir: Path, callers: Callers, database_settings: dict[str, Any]
) -> None:
    media_settings = MediaSettings(
        data_dir=data_dir, port=0, metrics_port=0, drain_seconds=0.2, **database_settings
    )
    async with running("media", media_settings, bootstrap_media) as media_service:
        settings = HistorySettings(
            data_dir=data_dir,
            port=0,
            metrics_port=0,
            media_address=media_service.address,
            **database_settings,
        )
        async with (
            running("history", settings, bootstrap_history) as history_service,
            grpc.aio.insecure_channel(media_service.address) as to_media,
            grpc.aio.insecure_channel(history_service.address) as to_history,
        ):
            media = Media(MediaServiceStub(to_media), callers, new_id(), data_dir)
            history = HistoryServiceStub(to_history)
            recording = await media.recorded(tone(16_000, 0.5), tone(24_000, 0.5))
            event = history_pb2.ConversationEvent(
                event_id=new_id(),
                conversation_id=recording.conversation_id,
                user_id=media.user_id,
                occurred_at=to_timestamp(SystemClock().now()),
                recording=history_pb2.RecordingStored(recording_id=recording.recording_id),
            )
            signer = ServiceSigner.open("conversation", callers.services_dir, SystemClock())
            await history.Ingest(
                history_pb2.IngestRequest(events=[event]),
                metadata=(signer.metadata("history"),),
            )
            assert (await media.get(recording.recording_id)).state == pb.RECORDING_STATE_READY
            await history.DeleteConversation(
                history_pb2.DeleteConversationRequest(conversation_id=recording.conversation_id),
                metadata=tuple(callers.user(media.user_id)),
            )
            async with asyncio.timeout(20):
                while media.files("objects"):
                    await asyncio.sleep(0)
            error = await media.refused(media.get(recording.recording_id))
            assert error.code is Code.NOT_FOUND
