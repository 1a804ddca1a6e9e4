"""Speaking over the tutor at random moments; `make bench-interruptions` does the same at length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.interruptions import ENGINE, SCRIPTED, count_words, measure, settings, summarise
from bench.server import Server
from tests.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Parley with the real pipeline over scripted models that tell words from "mhm"."""
    with Stack(tmp_path / "d", engine=ENGINE, settings=settings(tmp_path)) as stack:
        yield Server(stack.address, "scripted")


async def test_words_stop_the_tutor_at_once_and_a_backchannel_does_not(server: Server) -> None:
    found = await measure(server, SCRIPTED, count=16, learners=4, seed=7)
    count_words(found)
    result = summarise(found)
    assert (result["never_told"], result["unnoticed"]) == (0, 0)
    assert result["stale_messages"] == 0, "a stopped reply is silent"
    assert result["misplaced_audio"] == 0, "what goes on goes on from where it stopped"
    assert result["words_that_stopped"] == result["words"]
    assert [one for one in found if one.words_off > 1] == [], "the played words count as heard"
    assert result["resumed_share"] >= 0.9
