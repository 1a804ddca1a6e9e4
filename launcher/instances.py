"""The processes of a service: one, or for the conversation service several beside each other.

They share tables, keys and settings; of its own each has its ports. The gateway spreads new
sessions over them, and brings what belongs to a session to the process that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.common.settings import ServiceSettings
from services.conversation.settings import ConversationSettings

# Between one process's ports and the next's: five services stand side by side.
_STEP = 10


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service.

    name: the program's, such as `conversation` or `conversation-2`.
    settings: the service's, with this process's ports.
    environment: what tells the process so.
    """

    name: str
    settings: ServiceSettings
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def websocket_port(self) -> int | None:
        """Where it takes WebSockets; None for a service that does not."""
        if isinstance(self.settings, ConversationSettings):
            return self.settings.effective_websocket_port
        return None


def instances(settings: ServiceSettings, count: int = 1) -> tuple[Instance, ...]:
    """Return `count` processes of the service, the first with its ports as they are set."""
    return tuple(_instance(settings, number) for number in range(count))


def _instance(settings: ServiceSettings, number: int) -> Instance:
    if number == 0:
        return Instance(settings.service, settings)
    ports = {
        "port": settings.port,
        "metrics_port": settings.effective_metrics_port,
    }
    if isinstance(settings, ConversationSettings):
        ports["websocket_port"] = settings.effective_websocket_port
    moved = {name: port + _STEP * number for name, port in ports.items()}
    return Instance(
        name=f"{settings.service}-{number + 1}",
        settings=settings.model_copy(update=moved),
        environment={settings.variable(name): str(port) for name, port in moved.items()},
    )
