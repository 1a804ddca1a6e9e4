"""Who may come in."""

import pytest

from services.ai.catalogue import Catalogue, EngineEntry
from services.ai.engine import SessionConfig
from services.ai.engines.scripted import ScriptedEngine
from services.ai.script import Script
from services.common.errors import FailedPrecondition, InvalidArgument, ResourceExhausted


def catalogue(capacity: int = 1) -> Catalogue:
    entry = EngineEntry("scripted", "Script", ScriptedEngine("scripted", Script()))
    entry.capacity = capacity
    return Catalogue(engines={"scripted": entry})


async def test_the_session_over_capacity_is_refused_with_a_time_to_retry():
    offered = catalogue(capacity=1)
    with offered.live_session("", SessionConfig()):
        with (
            pytest.raises(ResourceExhausted) as caught,
            offered.live_session("scripted", SessionConfig()),
        ):
            pass
        assert caught.value.reason == "AT_CAPACITY"
        assert caught.value.retry_after is not None
    with offered.live_session("", SessionConfig()):
        assert offered.entry("").sessions == 1


async def test_a_session_that_fails_gives_its_place_back():
    offered = catalogue()
    with pytest.raises(RuntimeError), offered.live_session("", SessionConfig()):
        raise RuntimeError("broken")
    assert offered.entry("").sessions == 0


def test_an_unknown_engine_is_not_found_and_the_known_are_named():
    with pytest.raises(InvalidArgument, match="scripted"):
        catalogue().entry("nosuch")


def test_an_engine_that_cannot_serve_says_why():
    offered = Catalogue(engines={"local": EngineEntry("local", "Local", problem="no files")})
    with (
        pytest.raises(FailedPrecondition, match="no files"),
        offered.live_session("local", SessionConfig()),
    ):
        pass


async def test_a_voice_of_nobody_is_not_found():
    with (
        pytest.raises(InvalidArgument, match="nosuch"),
        catalogue().live_session("", SessionConfig(voice="nosuch")),
    ):
        pass
