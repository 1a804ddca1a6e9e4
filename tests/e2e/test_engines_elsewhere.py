"""A learner talks with every engine that Parley ships, its providers played by stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.vendors.town import SHIPPED
from tests.e2e.conftest import SPEECH, Learner
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.models,
    pytest.mark.timeout(300),
    pytest.mark.leaves_behind("a running Parley, and stand-ins, that the tests share"),
]

REPLY = "Nice to meet you! What do you like?"
ENGINES = (*SHIPPED, "google")
# So many talk at once, which is as many conversations as one account may have.
AT_ONCE = 3
RECORDING = SPEECH / "013360146.wav"


def said(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def test_every_engine_is_on_offer_and_answers_a_recording(
    local_stack: Stack, sign_up: Callable[[Stack], Learner], tmp_path: Path
) -> None:
    # Two, since a conversation that has ended may still be counted for a moment.
    first = sign_up(local_stack)
    second = replace(first, home=tmp_path / "second", username=f"{first.username}-2")
    second.home.mkdir()
    second.parley("register", second.username)
    learners = [first, second]
    offered = {each["name"]: each for each in learners[0].events("engines")}
    assert {name for name in ENGINES if not offered[name]["available"]} == set()

    def talk(engine: str) -> list[dict[str, Any]]:
        learner = learners[ENGINES.index(engine) % 2]
        return learner.events("talk", "--engine", engine, "--input", RECORDING)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        talks = dict(zip(ENGINES, pool.map(talk, ENGINES), strict=True))
    for engine, events in talks.items():
        told = f"{engine}: {said(events, 'notice')}"
        assert said(events, "reply_sounded"), told
        assert said(events, "turn_saved"), told
        finals = [each for each in said(events, "transcript") if each["final"]]
        assert finals, told
        (ended,) = said(events, "reply_ended")
        stages = said(events, "turn_measured")[0]["stages"]
        # Nobody had to stand in for anybody.
        assert not [stage for stage in stages if stage["note"]], told
        if engine != "riva":
            # On Riva's engine this machine's own model thinks.
            assert ended["heard_text"] == REPLY, told
