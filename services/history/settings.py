"""What the history service can be told."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from services.common.settings import ServiceSettings


class HistorySettings(ServiceSettings):
    """Settings of the history service, read from `PARLEY_HISTORY_…`."""

    service: ClassVar[str] = "history"

    port: int = Field(
        50054, ge=0, le=65535, description="Port of the gRPC server; 0 picks a free one."
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Conversations, with what is known of them and their recordings, are deleted "
        "this many days after they began; 0 keeps them.",
    )
