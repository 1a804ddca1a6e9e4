"""Settings of the conversation service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.common.settings import ServiceSettings


class ConversationSettings(ServiceSettings):
    """What the conversation service can be told."""

    service: ClassVar[str] = "conversation"

    port: int = Field(
        50052, ge=0, le=65535, description="Port of the gRPC server; 0 picks a free one."
    )
    websocket_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the WebSockets; unset: gRPC port + 2000; 0: a free one.",
    )
    web_origins: tuple[str, ...] = Field(
        (),
        description="Web origins whose pages may open a WebSocket, as a JSON list, besides those "
        "of the host that they call; unset under `make run`: those of the gateway.",
    )
    max_sessions: int = Field(
        250, ge=1, description="Live sessions held at once; the next is refused with AT_CAPACITY."
    )
    resume_seconds: float = Field(
        120.0, ge=0, le=3600, description="How long a session waits for a client that was cut off."
    )
    reply_timeout_seconds: float = Field(
        30.0,
        gt=0,
        description="How long an engine may think before it counts as lost and another is opened.",
    )

    @property
    def effective_websocket_port(self) -> int:
        """The port of the WebSockets with its default worked out."""
        if self.websocket_port is not None:
            return self.websocket_port
        # Above the metrics port, in the same manner.
        return self.port + 2000 if self.port else 0
