"""The services that are fuzzed: in this process, or in their own as the launcher starts them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from parley.media.v1 import media_pb2
from parley.media.v1.media_pb2_grpc import MediaServiceStub
from parley.user.v1 import user_pb2
from parley.user.v1.user_pb2_grpc import UserServiceStub
from services.common.clock import SystemClock
from services.common.lifecycle import running
from services.common.service_identity import ServiceSigner
from tests.e2e.caller import Caller, RawTalk
from tests.fuzz.generation import Hints
from tests.ports import free_ports
from tests.stack import Stack

SPEECH = Path(__file__).parents[1] / "data" / "speech" / "000360210.wav"

PASSWORD = "correct horse battery"

# Live sessions a learner may have are few: several learners fuzz at once.
LEARNERS = 4


@dataclass(slots=True)
class Learner:
    """An account that sends the messages. Whatever happens to it is its own matter."""

    metadata: tuple[tuple[str, str], ...]
    hints: Hints


@dataclass(slots=True)
class Target:
    """Where the services are, and keys to come in with."""

    addresses: Mapping[str, str]
    keys: Path
    websocket: str
    stack: Stack | None = None
    channels: dict[str, grpc.aio.Channel] = field(default_factory=dict)
    learners: list[Learner] = field(default_factory=list)

    def service(self, caller: str, callee: str) -> tuple[tuple[str, str], ...]:
        """Return what the service `caller` shows to `callee`."""
        return (ServiceSigner.open(caller, self.keys, SystemClock()).metadata(callee),)

    async def account(self) -> tuple[str, str, str, str]:
        """Make an account; return its id, its name, an access and a refresh token."""
        stub: Any = UserServiceStub(self.channels["user"])
        name = f"fuzz-{secrets.token_hex(6)}"
        made = await stub.Register(user_pb2.RegisterRequest(username=name, password=PASSWORD))
        tokens = made.tokens
        return made.account.user_id, name, tokens.access_token, tokens.refresh_token

    async def renew(self, learner: Learner) -> None:
        """Give `learner` another account: one of its messages deleted it, or signed it out."""
        user_id, name, token, refresh = await self.account()
        learner.metadata = (("authorization", f"Bearer {token}"),)
        learner.hints = {**learner.hints, **_own(user_id, name, refresh)}

    async def talker(self, address: str = "") -> Caller:
        """Return a caller of the conversation service with an account of its own."""
        talker = Caller(address or self.addresses["conversation"])
        talker.user_id, _, talker.token, _ = await self.account()
        return talker


@asynccontextmanager
async def in_process(folder: Path, postgresql_url: str = "") -> AsyncIterator[Target]:
    """Run the five services here, on the scripted engine.

    postgresql_url: where they keep what they are told; empty: in files.
    """
    from services.ai.bootstrap import bootstrap as ai
    from services.ai.settings import AiSettings
    from services.conversation.bootstrap import bootstrap as conversation
    from services.conversation.settings import ConversationSettings
    from services.history.bootstrap import bootstrap as history
    from services.history.settings import HistorySettings
    from services.media.bootstrap import bootstrap as media
    from services.media.settings import MediaSettings
    from services.user.bootstrap import bootstrap as user
    from services.user.settings import UserSettings

    names = ("user", "ai", "history", "media", "conversation")
    *ports, websocket = free_ports(len(names) + 1)
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
    common: dict[str, Any] = {f"{name}_address": each for name, each in addresses.items()}
    common |= {"data_dir": folder, "metrics_port": 0, "rate_limits": False, "drain_seconds": 1}
    if postgresql_url:
        common["postgresql_url"] = postgresql_url
    port = dict(zip(names, ports, strict=True))
    async with AsyncExitStack() as stack:
        for name, settings, bootstrap in (
            ("user", UserSettings(bcrypt_cost=4, port=port["user"], **common), user),
            ("ai", AiSettings(engines=("scripted",), port=port["ai"], **common), ai),
            ("history", HistorySettings(port=port["history"], **common), history),
            ("media", MediaSettings(port=port["media"], **common), media),
            (
                "conversation",
                ConversationSettings(websocket_port=websocket, port=port["conversation"], **common),
                conversation,
            ),
        ):
            await stack.enter_async_context(running(name, settings, bootstrap))
        target = Target(addresses, folder / "keys" / "services", f"ws://127.0.0.1:{websocket}/ws")
        yield await stack.enter_async_context(_connected(target))


@asynccontextmanager
async def in_processes(folder: Path) -> AsyncIterator[Target]:
    """Start the whole of Parley, and come to each service's own port."""
    settings = {"PARLEY_USER_BCRYPT_COST": "4", "PARLEY_RATE_LIMITS": "false"}
    stack = Stack(folder / "d", settings=settings)
    await asyncio.to_thread(stack.start)
    try:
        addresses = {name: f"127.0.0.1:{port}" for name, port in stack.service_ports.items()}
        target = Target(
            addresses,
            stack.folder.root / "keys" / "services",
            f"ws://127.0.0.1:{stack.websocket_port}/ws",
            stack,
        )
        async with _connected(target) as connected:
            yield connected
    finally:
        await asyncio.to_thread(stack.stop)


@asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[Target]:
    async with AsyncExitStack() as stack:
        options = [("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 65_536)]
        for name, address in target.addresses.items():
            channel = grpc.aio.insecure_channel(address, options=options)
            target.channels[name] = await stack.enter_async_context(channel)
        target.learners += await asyncio.gather(*(_learner(target) for _ in range(LEARNERS)))
        yield target


async def _learner(target: Target) -> Learner:
    """Make an account that has something: a talk, a recording."""
    user_id, name, token, refresh = await target.account()
    talker = Caller(target.addresses["conversation"])
    talker.token = token
    talk = RawTalk(talker)
    await talk.start()
    await talk.send(text={"text": "Yesterday I goed to the market."})
    await talk.until("turn_saved")
    await talk.send(finish={})
    await talk.until("ended")
    await talker.channel.close()
    media: Any = MediaServiceStub(target.channels["media"])
    wav = SPEECH.read_bytes()
    upload = media.UploadAudio(metadata=talker.metadata)
    about = media_pb2.UploadMetadata(file_name="a.wav", size_bytes=len(wav))
    await upload.write(media_pb2.UploadAudioRequest(metadata=about))
    for at in range(0, len(wav), 65_536):
        await upload.write(media_pb2.UploadAudioRequest(chunk=wav[at : at + 65_536]))
    await upload.done_writing()
    stored = await upload
    hints = {
        **_own(user_id, name, refresh),
        "password": (PASSWORD, "wrong password", "password"),
        "old_password": ("wrong password",),
        "conversation_id": (talk.conversation_id,),
        "conversation_ids": (talk.conversation_id,),
        "turn_id": (talk.saved[0][1],),
        "recording_id": (stored.recording.recording_id,),
        "engine": ("scripted", "", "none"),
        "voice": ("", "scripted-en"),
        "scenario_id": ("free-talk", "restaurant", "none", ""),
        "resume_handle": ("", "", "x"),
        "seq": (1, 2, 3, 4, 5, 6, 7, 8),
        "first_seq": (1, 2),
        "encoding": (1, 1, 2, 3),
        "sample_rate_hz": (16_000, 16_000, 24_000, 8_000, 48_000, 0),
        "channels": (1, 1, 0),
        "generation": (1, 2, 3),
        "number": (1, 2, 3),
        "next_turn": (1, 2),
        "from_date": ("2026-01-31", "2026-02-30", ""),
        "to_date": ("2026-03-01", "0000-00-00", ""),
        "time_zone": ("Europe/Berlin", "UTC", "Nowhere/Here"),
        "paths": ("profile", "profile.level", "account", "profile.interests", "x.y"),
        "query": ("market", "goed OR", '"', "NEAR(", "*"),
        "all": (False,),
        "seconds": (1, 60, 1_700_000_000, 253402300799, -1),
        "nanos": (0, 1, 999_999_999),
        "file_name": ("a.wav", "a.mp3", "../a.flac", "a"),
        "size_bytes": (0, 100, len(wav)),
    }
    return Learner(talker.metadata, hints)


def _own(user_id: str, name: str, refresh_token: str) -> dict[str, tuple[str, ...]]:
    """Return the hints that name an account."""
    return {
        "username": (name, f"new-{name}", "somebody"),
        "refresh_token": (refresh_token, refresh_token[:-1], "x"),
        "user_id": (user_id,),
    }
