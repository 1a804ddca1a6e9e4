"""The public face of Parley: which methods the gateway lets through, and on what terms.

An RPC that is not here does not exist from outside: the gateway answers UNIMPLEMENTED. A test
compares this table with the contract, so a new RPC is either listed or named internal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Service = Literal["user", "conversation", "ai", "history", "media"]

SERVICES: Final[tuple[Service, ...]] = ("user", "conversation", "ai", "history", "media")

INTERNAL: Final = frozenset(
    {
        "parley.history.v1.HistoryService/Ingest",
        "parley.media.v1.MediaService/Record",
        # Asked by the conversation service, of everybody's sessions at once.
        "parley.user.v1.UserService/FindEndedSessions",
        # Live speech enters through the conversation service, which keeps the transcript and the
        # limits; the engine behind it is not for strangers.
        "parley.ai.v1.AiService/Converse",
        # The user service has a deleted account's traces removed with these.
        "parley.conversation.v1.ConversationService/EraseUser",
        "parley.history.v1.HistoryService/EraseUser",
        "parley.media.v1.MediaService/EraseUser",
    }
)
"""Methods between services. Never routed."""


@dataclass(frozen=True, slots=True)
class Route:
    """One public method.

    cluster: the service that answers.
    path: `/<package>.<Service>/<Method>`.
    streaming: at least one side streams, so the call has no overall time limit.
    idempotent: repeating it changes nothing, so the gateway may retry it when the service answers
        UNAVAILABLE. Methods that are not are retried only when no byte reached a service.
    public: needs no access token.
    affinity: must reach the process that holds the caller's live session.
    service_header: when set, the route holds only for calls whose `x-parley-service` is this.
    """

    cluster: Service
    path: str
    streaming: bool = False
    idempotent: bool = False
    public: bool = False
    affinity: bool = False
    service_header: Service | None = None


def _of(
    cluster: Service,
    name: str,
    *,
    public: str = "",
    idempotent: str = "",
    changing: str = "",
    streaming: str = "",
    affinity: str = "",
) -> tuple[Route, ...]:
    """List the methods of one service by kind, each argument being names in a row."""
    open_to_all, pinned = public.split(), affinity.split()
    groups = ((idempotent, False, True), (changing, False, False), (streaming, True, False))
    return tuple(
        Route(
            cluster,
            f"/parley.{cluster}.v1.{name}/{method}",
            streaming=streams,
            idempotent=repeatable,
            public=method in open_to_all,
            affinity=method in pinned,
        )
        for methods, streams, repeatable in groups
        for method in methods.split()
    )


METHODS: Final[tuple[Route, ...]] = (
    *_of(
        "user",
        "UserService",
        # Refresh and Logout prove themselves by the refresh token in the request: they must work
        # when the access token has expired, which is when they are needed.
        public="Register Login Refresh Logout GetJwks",
        idempotent="GetProfile ListSessions GetJwks",
        changing=(
            "Register Login Refresh Logout UpdateProfile ChangePassword RevokeSession DeleteAccount"
        ),
        streaming="ExportData",
    ),
    *_of(
        "conversation",
        "ConversationService",
        idempotent="ListScenarios GetConversationState",
        # Push is deduplicated by sequence number, but late retries would reach a session that
        # has moved on; its client decides.
        changing="Push",
        streaming="Converse Subscribe Upload",
        # Converse needs it only to resume: where the session is alive, its process knows best.
        affinity="Converse Subscribe Upload Push GetConversationState",
    ),
    *_of(
        "ai",
        "AiService",
        idempotent="ListEngines ListVoices",
        streaming="Transcribe Generate Synthesize Assess",
    ),
    *_of(
        "history",
        "HistoryService",
        idempotent="ListConversations GetConversation SearchTurns GetProgress ListMistakes",
        changing="DeleteConversation",
        streaming="ExportConversations",
    ),
    *_of(
        "media",
        "MediaService",
        idempotent="GetRecording ListRecordings",
        changing="CreateDownloadUrl DeleteRecording",
        streaming="UploadAudio DownloadRecording",
    ),
)
"""Every method of the contract that the outside may call."""

HEALTH_SERVICE: Final = "conversation"
"""Whose health answers a check that names no service: the one a learner talks to."""


def _of_each_service(path: str, *, streaming: bool = False) -> tuple[Route, ...]:
    named = tuple(
        Route(service, path, streaming=streaming, public=True, service_header=service)
        for service in SERVICES
    )
    return (*named, Route(HEALTH_SERVICE, path, streaming=streaming, public=True))


HEALTH: Final = _of_each_service("/grpc.health.v1.Health/Check")
"""Health is public. The header `x-parley-service` chooses the service that is asked.

Not `Watch`: a stream that lasts as long as a stranger likes takes a place in the service.
"""

REFLECTION: Final = tuple(
    route
    for version in ("v1", "v1alpha")
    for route in _of_each_service(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", streaming=True
    )
)
"""Reflection, off at the edge unless a setting turns it on: the contract is public, but a
production edge answers nothing that no client needs. Clients ask for v1 first, then v1alpha."""
