"""history.v1 over gRPC: translate, call, translate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from parley.history.v1 import history_pb2 as pb
from parley.history.v1 import history_pb2_grpc
from services.common.access import USER, service
from services.common.call_context import caller
from services.common.errors import FieldViolation, InvalidArgument
from services.common.timestamps import from_timestamp
from services.history import export, translate
from services.history.application import History
from services.history.ports import ConversationFilter
from services.history.reports import Asked, Reports

ACCESS = {
    "Ingest": service("conversation", "media", "ai"),
    "ListConversations": USER,
    "GetConversation": USER,
    "SearchTurns": USER,
    "DeleteConversation": USER,
    "GetProgress": USER,
    "ListMistakes": USER,
    "ExportConversations": USER,
    "EraseUser": service("user"),
}
"""Who may call what. Events come from services alone; everything else is a learner's own."""

_Context = grpc.aio.ServicerContext[Any, Any]


class HistoryServicer(history_pb2_grpc.HistoryServiceServicer):
    """Every learner's question is asked under the id of the verified token, never another."""

    def __init__(self, history: History, reports: Reports) -> None:
        self._history = history
        self._reports = reports

    async def Ingest(self, request: pb.IngestRequest, context: _Context) -> pb.IngestResponse:
        """Store events."""
        ingested = await self._history.ingest(translate.to_events(request.events))
        return pb.IngestResponse(stored=ingested.stored, known=ingested.known)

    async def ListConversations(
        self, request: pb.ListConversationsRequest, context: _Context
    ) -> pb.ListConversationsResponse:
        """List the caller's conversations."""
        wanted = ConversationFilter(
            user_id=caller().user_id,
            scenario_id=request.scenario_id,
            since=_time(getattr(request, "from"), "from"),
            before=_time(request.to, "to"),
        )
        page = await self._history.conversations(wanted, request.page_size, request.page_token)
        return pb.ListConversationsResponse(
            conversations=[translate.from_conversation(each) for each in page.conversations],
            next_page_token=page.next_page_token,
        )

    async def GetConversation(
        self, request: pb.GetConversationRequest, context: _Context
    ) -> pb.GetConversationResponse:
        """Return one of the caller's conversations."""
        page = await self._history.conversation(
            caller().user_id,
            request.conversation_id.lower(),
            request.page_size,
            request.page_token,
        )
        return pb.GetConversationResponse(
            conversation=translate.from_conversation(page.conversation),
            turns=[translate.from_turn(each) for each in page.turns],
            next_page_token=page.next_page_token,
        )

    async def SearchTurns(
        self, request: pb.SearchTurnsRequest, context: _Context
    ) -> pb.SearchTurnsResponse:
        """Find the caller's turns by their words."""
        page = await self._history.search(
            caller().user_id, request.query, request.page_size, request.page_token
        )
        return pb.SearchTurnsResponse(
            matches=[translate.from_match(each, page.query) for each in page.matches],
            next_page_token=page.next_page_token,
        )

    async def DeleteConversation(
        self, request: pb.DeleteConversationRequest, context: _Context
    ) -> pb.DeleteConversationResponse:
        """Delete one of the caller's conversations."""
        await self._history.delete(caller().user_id, request.conversation_id.lower())
        return pb.DeleteConversationResponse()

    async def EraseUser(
        self, request: pb.EraseUserRequest, context: _Context
    ) -> pb.EraseUserResponse:
        """Erase everything of a user whose account was deleted."""
        return pb.EraseUserResponse(erased=await self._history.erase_user(request.user_id.lower()))

    async def GetProgress(
        self, request: pb.GetProgressRequest, context: _Context
    ) -> pb.GetProgressResponse:
        """Tell how the caller's practice goes."""
        asked = Asked(request.from_date, request.to_date, request.time_zone)
        return translate.from_progress(await self._reports.progress(caller().user_id, asked))

    async def ListMistakes(
        self, request: pb.ListMistakesRequest, context: _Context
    ) -> pb.ListMistakesResponse:
        """List the caller's mistakes."""
        page = await self._history.mistakes(
            caller().user_id, request.kind, request.page_size, request.page_token
        )
        return pb.ListMistakesResponse(
            mistakes=[translate.from_mistake(each) for each in page.mistakes],
            next_page_token=page.next_page_token,
        )

    async def ExportConversations(
        self,
        request: pb.ExportConversationsRequest,
        context: grpc.aio.ServicerContext[
            pb.ExportConversationsRequest, pb.ExportConversationsResponse
        ],
    ) -> None:
        """Stream the caller's conversations as a file."""
        ids = [each.lower() for each in request.conversation_ids]
        pieces = self._pieces(caller().user_id, ids, request.format)
        async for chunk in export.chunks(pieces):
            await context.write(pb.ExportConversationsResponse(chunk=chunk))

    async def _pieces(
        self, user_id: str, conversation_ids: list[str], form: pb.ExportFormat.ValueType
    ) -> AsyncIterator[str]:
        write = export.json_line
        if form == pb.EXPORT_FORMAT_TEXT:
            write = export.plain_text
        async for conversation, turns in self._history.export(user_id, conversation_ids):
            async for piece in write(conversation, turns):
                yield piece


def _time(stamp: Timestamp, field: str) -> datetime | None:
    # An unset message field reads as the epoch, before which nobody practised.
    if not stamp.seconds and not stamp.nanos:
        return None
    try:
        return from_timestamp(stamp)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            "A time is out of range.",
            reason="INVALID_REQUEST",
            fields=[FieldViolation(field, "not a time between the years 1 and 9999")],
        ) from None
