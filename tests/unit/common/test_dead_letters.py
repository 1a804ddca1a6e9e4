"""What a receiver refuses for good is laid aside with its reason, shown, and sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.orm import DeclarativeBase

from services.common.clock import ManualClock
from services.common.database import Database
from services.common.dead_letters import DeadLetters, main
from services.common.errors import InvalidArgument, Unavailable
from services.common.outbox import Outbox, OutboxEvent, OutboxMixin
from services.common.outbox_figures import OutboxFigures
from services.common.outbox_relay import OutboxRelay, RelayPolicy
from services.common.refusals import EventsRefusedError, send_each
from services.common.settings import ServiceSettings
from tests.ports import free_ports


class Base(DeclarativeBase):
    pass


class Row(OutboxMixin, Base):
    __tablename__ = "outbox"


class Settings(ServiceSettings):
    service = "user"


class Receiver:
    """Refuses payloads for good, as it is told."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.refused: set[bytes] = set()
        self.away = False

    async def publish(self, events: Sequence[OutboxEvent]) -> None:
        refusals = await send_each(events, self._store)
        if refusals:
            raise EventsRefusedError({events[at].event_id: why for at, why in refusals.items()})

    async def _store(self, events: Sequence[OutboxEvent]) -> None:
        if self.away:
            raise Unavailable("away", reason="PEER_UNAVAILABLE")
        if self.refused & {each.payload for each in events}:
            raise InvalidArgument("No such turn.", reason="EVENT_INVALID")
        self.got += [each.payload for each in events]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.open(database_url) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield database


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def outbox(clock: ManualClock) -> Outbox[Row]:
    return Outbox(Row, clock)


@pytest.fixture(params=[False, True], ids=["singly", "together"])
def relay(request, database, outbox, receiver, clock) -> OutboxRelay[Row]:
    policy = RelayPolicy(together=request.param)
    return OutboxRelay(database, outbox, receiver.publish, clock, policy)


@pytest.fixture
def letters(database, clock) -> DeadLetters[Row]:
    return DeadLetters(database, Row, clock)


async def write(database: Database, outbox: Outbox[Row], *events: tuple[str, bytes]) -> None:
    async with database.transaction() as session:
        for aggregate, payload in events:
            await outbox.append(session, OutboxEvent(aggregate, "said", payload))


async def test_a_refused_event_is_laid_aside_and_those_after_it_go_on(
    database, outbox, relay, receiver, letters
):
    receiver.refused = {b"2"}
    await write(database, outbox, ("a", b"1"), ("a", b"2"), ("a", b"3"), ("b", b"4"))
    await relay.run_once()
    assert sorted(receiver.got) == [b"1", b"3", b"4"]
    (letter,) = await letters.refused()
    assert (letter.about, letter.type, letter.size_bytes) == ("a", "said", 1)
    assert letter.reason == "EVENT_INVALID: No such turn."
    assert await relay.pending() == 0


async def test_it_is_kept_however_long_it_lies(database, outbox, relay, receiver, letters, clock):
    receiver.refused = {b"1"}
    await write(database, outbox, ("a", b"1"), ("a", b"2"))
    await relay.run_once()
    await clock.advance(365 * 86_400)
    await relay.prune()
    assert len(await letters.refused()) == 1
    assert await relay.run_once() == 0


async def test_replayed_it_is_sent_once_more(database, outbox, relay, receiver, letters):
    receiver.refused = {b"1", b"2"}
    await write(database, outbox, ("a", b"1"), ("b", b"2"))
    await relay.run_once()
    first, _ = await letters.refused()
    receiver.refused = set()
    assert await letters.replay(["unknown"]) == 0
    assert await letters.replay([first.letter_id]) == 1
    await relay.run_once()
    assert receiver.got == [b"1"]
    assert await letters.replay(None) == 1
    await relay.run_once()
    assert receiver.got == [b"1", b"2"]
    assert await letters.refused() == []


async def test_a_receiver_that_is_away_refuses_nothing(database, outbox, relay, receiver, letters):
    receiver.away = True
    await write(database, outbox, ("a", b"1"))
    await relay.run_once()
    assert await letters.refused() == []
    assert await relay.pending() == 1


async def test_what_waits_and_what_was_refused_can_be_watched(
    database, outbox, relay, receiver, clock
):
    registry = CollectorRegistry()
    figures = OutboxFigures(database, Row, clock, registry)

    async def seen() -> list[float | None]:
        await figures.look()
        names = ("waiting", "oldest_seconds", "refused")
        return [registry.get_sample_value(f"parley_outbox_{name}") for name in names]

    assert await seen() == [0, 0, 0]
    receiver.refused, receiver.away = {b"2"}, True
    await write(database, outbox, ("a", b"1"), ("b", b"2"))
    await clock.advance(7)
    assert await seen() == [2, 7, 0]
    receiver.away = False
    await relay.run_once()
    assert await seen() == [0, 0, 1]


@pytest.mark.parametrize(
    "arguments", [[], ["replay"], ["replay", "--all", "x"], ["forget"]], ids=" ".join
)
def test_a_command_that_says_nothing_clear_is_refused(arguments, data_dir):
    with pytest.raises(SystemExit) as caught:
        main(arguments, Settings, Row)
    assert caught.value.code == 2


def test_in_a_folder_that_nobody_uses_the_command_says_so_and_makes_nothing(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["list"], Settings, Row) == 2
    assert "is PARLEY_DATA_DIR the running Parley's?" in capsys.readouterr().err
    assert list(data_dir.iterdir()) == []


@pytest.mark.parametrize("redis_away", [False, True], ids=["alone", "its Redis away"])
def test_the_command_shows_them_without_what_they_hold_and_replays_them(
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    redis_away: bool,
):
    if redis_away:
        monkeypatch.setenv("PARLEY_REDIS_URL", f"redis://127.0.0.1:{free_ports(1)[0]}/0")

    import asyncio

    async def refused_once() -> None:
        async with Database.open(Settings.load().database_url) as database:
            async with database.engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            clock, receiver = ManualClock(), Receiver()
            outbox, receiver.refused = Outbox(Row, clock), {b"a secret"}
            await write(database, outbox, ("a", b"a secret"))
            await OutboxRelay(database, outbox, receiver.publish, clock).run_once()

    asyncio.run(refused_once())
    assert main(["list"], Settings, Row) == 0
    shown, warned = capsys.readouterr()
    assert ("Redis does not answer" in warned) == redis_away
    assert "EVENT_INVALID: No such turn." in shown
    assert "8 bytes" in shown
    assert shown.endswith("1 refused\n")
    assert "secret" not in shown
    assert main(["replay", "unknown"], Settings, Row) == 1
    assert main(["replay", "--all"], Settings, Row) == 0
    assert main(["list"], Settings, Row) == 0
    assert capsys.readouterr().out.endswith("0 refused\n")
