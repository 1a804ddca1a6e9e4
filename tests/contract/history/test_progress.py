"""GetProgress: whose days, which days, and what is said of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import pytest

from parley.history.v1 import history_pb2 as pb
from parley.types.v1 import feedback_pb2, learner_pb2, turn_pb2
from parley.user.v1 import user_pb2, user_pb2_grpc
from services.common.errors import Code
from services.common.ids import new_id
from tests.contract.history.conftest import History, Serve, Tell, Told

LATE = datetime(2026, 5, 1, 23, 30, tzinfo=UTC)
MAY = {"from_date": "2026-05-01", "to_date": "2026-05-31"}


class Profiles(user_pb2_grpc.UserServiceServicer):
    """A user service that knows one time zone, and as whom it was asked."""

    def __init__(self) -> None:
        self.time_zone = ""
        self.asked: list[dict[str, Any]] = []

    async def GetProfile(self, request: Any, context: Any) -> user_pb2.GetProfileResponse:
        self.asked.append(dict(context.invocation_metadata()))
        profile = learner_pb2.LearnerProfile(time_zone=self.time_zone)
        return user_pb2.GetProfileResponse(account=user_pb2.Account(profile=profile))


@pytest.fixture
async def profiles() -> AsyncIterator[tuple[Profiles, str]]:
    server = grpc.aio.server()
    known = Profiles()
    user_pb2_grpc.add_UserServiceServicer_to_server(known, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield known, f"127.0.0.1:{port}"
    await server.stop(None)


@asynccontextmanager
async def _told(serve: Serve, address: str) -> AsyncIterator[History]:
    async with serve(user_address=address) as history:
        yield history


async def ask(history: History, user_id: str = "", **asked: str) -> pb.GetProgressResponse:
    told: pb.GetProgressResponse = await history.ask(
        "GetProgress", pb.GetProgressRequest(**asked), user_id
    )
    return told


async def test_a_learner_without_practice_is_told_so(history: History) -> None:
    told = await ask(history, time_zone="Europe/Madrid")
    assert not told.days
    assert (told.current_streak_days, told.longest_streak_days) == (0, 0)
    assert (told.total_speech_ms, told.total_conversations) == (0, 0)
    assert told.time_zone == "Europe/Madrid"
    days = [datetime.fromisoformat(each) for each in (told.from_date, told.to_date)]
    assert days[1] - days[0] == timedelta(days=30)


async def test_the_days_are_added_up_and_another_learner_sees_none(
    history: History, tell: Tell
) -> None:
    told = tell(began=LATE)
    turns = [told.turn(number, "I goed to the market", "You did?") for number in (1, 2)]
    typed = told.turn(3, "typed words", source=turn_pb2.UTTERANCE_SOURCE_TEXT)
    opening = told.turn(
        4, "", "Hello!", source=turn_pb2.UTTERANCE_SOURCE_NONE, utterance_end_ms=40_000, stages=[]
    )
    feedback = told.assessed(turns[0].turn.turn_id, ("goed", "went"))
    events = [told.started(), *turns, typed, opening, feedback, told.ended()]
    await history.ingest(*events)
    await history.ingest(*reversed(events))
    (day,) = (await ask(history, time_zone="UTC", **MAY)).days
    assert day == pb.DailyProgress(
        date="2026-05-01",
        speech_ms=3_000,
        words=12,
        turns=3,
        rate_wpm=200,
        corrections=[
            pb.CorrectionCount(kind=feedback_pb2.CORRECTION_KIND_GRAMMAR, count=1),
        ],
        median_silence_ms=250,
    )
    whole = await ask(history, time_zone="UTC", **MAY)
    assert (whole.total_speech_ms, whole.total_conversations) == (3_000, 1)
    assert whole.longest_streak_days == 1
    assert not (await ask(history, new_id(), time_zone="UTC", **MAY)).days


async def test_the_days_are_those_of_the_learners_profile(
    serve_history: Serve, profiles: tuple[Profiles, str]
) -> None:
    """Asked with the learner's own token; and when the learner moves, the days move."""
    known, address = profiles
    async with _told(serve_history, address) as history:
        told = Told(history.user_id, new_id(), LATE)
        await history.ingest(told.turn(1, "good evening"))
        days = {}
        for zone in ("", "Europe/Madrid", "America/New_York", "Mars/Olympus_Mons"):
            known.time_zone = zone
            answer = await ask(history, **MAY)
            days[answer.time_zone] = [day.date for day in answer.days]
        assert days == {
            "UTC": ["2026-05-01"],
            "Europe/Madrid": ["2026-05-02"],
            "America/New_York": ["2026-05-01"],
        }
        assert all(each["authorization"].startswith("Bearer ") for each in known.asked)


async def test_who_names_a_zone_needs_no_profile_and_who_names_none_is_told_to_wait(
    serve_history: Serve,
) -> None:
    async with _told(serve_history, "127.0.0.1:1") as history:
        assert (await ask(history, time_zone="Asia/Tokyo")).time_zone == "Asia/Tokyo"
        error = await history.refused(ask(history))
        assert (error.code, error.reason) == (Code.UNAVAILABLE, "PEER_UNAVAILABLE")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"from_date": "2026-02-30"}, "from_date"),
        ({"to_date": "0000-01-01"}, "to_date"),
        ({"to_date": "2026-13-01"}, "to_date"),
        ({"from_date": "yesterday"}, "from_date"),
        ({"from_date": "2026-05-02", "to_date": "2026-05-01"}, "from_date"),
        ({"from_date": "2025-05-01", "to_date": "2026-05-02"}, "from_date"),
        ({"from_date": "9999-12-31"}, "from_date"),
        ({"time_zone": "Mars/Olympus_Mons"}, "time_zone"),
        ({"time_zone": "../../etc/passwd"}, "time_zone"),
        ({"time_zone": "Europe"}, "time_zone"),
        ({"time_zone": "x" * 65}, "time_zone"),
        ({"time_zone": "a\x00b"}, "time_zone"),
    ],
)
async def test_days_and_zones_that_there_are_not_are_refused_by_name(
    history: History, asked: dict[str, str], field: str
) -> None:
    error = await history.refused(ask(history, **({"time_zone": "UTC"} | asked)))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert [each.field for each in error.fields] == [field]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("day", ["0001-01-01", "1970-01-01", "9999-12-31"])
async def test_the_ends_of_the_calendar_can_be_asked_about(
    history: History, tell: Tell, day: str, zone: str
) -> None:
    for year in (1, 9999):
        event = tell().turn(1, "out of time")
        event.turn.started_at.FromDatetime(datetime(year, 12, 31, 23, 59, tzinfo=UTC))
        await history.ingest(event)
    told = await ask(history, from_date=day, to_date=day, time_zone=zone)
    assert (told.from_date, told.to_date) == (day, day)


async def test_a_year_can_be_asked_about_at_once(history: History, tell: Tell) -> None:
    for days in range(0, 366, 5):
        told = tell(began=LATE - timedelta(days=days))
        await history.ingest(told.turn(1, "every fifth day"))
    year = {"from_date": "2025-05-01", "to_date": "2026-05-01", "time_zone": "UTC"}
    told_of = await ask(history, **year)
    assert len(told_of.days) == 74
    assert [day.date for day in told_of.days] == sorted(day.date for day in told_of.days)
    part = await ask(history, from_date="2026-04-01", to_date="2026-04-10", time_zone="UTC")
    assert len(part.days) == 2
    # What was before counts in the total, what came after does not.
    assert part.total_speech_ms == 1_500 * sum(
        LATE - timedelta(days=days) < datetime(2026, 4, 11, tzinfo=UTC) for days in range(0, 366, 5)
    )


async def test_what_is_deleted_counts_nowhere(history: History, tell: Tell) -> None:
    kept, gone = tell(began=LATE), tell(began=LATE)
    await history.ingest(kept.turn(1, "this stays"), gone.turn(1, "this goes"))
    request = pb.DeleteConversationRequest(conversation_id=gone.conversation_id)
    await history.ask("DeleteConversation", request)
    await history.ingest(gone.turn(2, "and comes late"))
    told = await ask(history, time_zone="UTC", **MAY)
    assert [day.turns for day in told.days] == [1]
    assert (told.total_conversations, told.total_speech_ms) == (1, 1_500)
    identity = history.callers.service("user")
    await history.stub.EraseUser(pb.EraseUserRequest(user_id=history.user_id), metadata=identity)
    assert not (await ask(history, time_zone="UTC", **MAY)).days


async def test_todays_row_of_days_is_told(history: History, tell: Tell) -> None:
    a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
    for days in (0, 1, 2, 8):
        told = tell(began=a_minute_ago - timedelta(days=days))
        await history.ingest(told.turn(1, "each day"))
    progress = await ask(history, time_zone="UTC")
    # Whether it is midnight now or not.
    assert (progress.current_streak_days, progress.longest_streak_days) == (3, 3)
