"""The parts of a silence add up to it, whoever measured them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.types.v1 import turn_pb2
from parley_cli.stages import STAGES, StageView, split_silence, stage_views


def parts(stages: tuple[StageView, ...]) -> dict[str, float]:
    return {stage.name: stage.duration_ms for stage in stages}


def test_every_stage_of_the_contract_has_its_place() -> None:
    kinds = [kind for kind in turn_pb2.StageKind.values() if kind]
    named = stage_views([turn_pb2.Stage(kind=kind) for kind in kinds])
    assert tuple(stage.name for stage in named) == STAGES


def test_a_late_end_of_speech_belongs_to_the_endpoint() -> None:
    server = (StageView("endpoint", 280.0), StageView("sent", 5.0))
    split = parts(split_silence(300.0, server, end_late_ms=-30.0, own_ms={"received": 10.0}))
    assert split == {"endpoint": 250.0, "sent": 5.0, "received": 10.0, "unaccounted": 35.0}


def test_what_was_done_while_the_learner_still_spoke_is_no_part_of_the_silence() -> None:
    server = (StageView("endpoint", 5.0), StageView("transcript", 40.0), StageView("sent", 3.0))
    split = parts(split_silence(20.0, server, end_late_ms=-30.0, own_ms={}))
    assert split == {"endpoint": 0.0, "transcript": 15.0, "sent": 3.0, "unaccounted": 2.0}


def test_what_only_this_side_can_see_is_not_taken_from_the_server() -> None:
    server = (StageView("received", 99.0), StageView("unaccounted", 99.0))
    split = parts(split_silence(20.0, server, own_ms={"received": 4.0}))
    assert split == {"received": 4.0, "unaccounted": 16.0}


@given(
    silence_ms=st.floats(0, 5_000),
    durations=st.lists(st.floats(0, 500), max_size=6),
    late_ms=st.floats(-500, 500),
    own_ms=st.floats(0, 300),
)
def test_they_always_add_up(
    silence_ms: float, durations: list[float], late_ms: float, own_ms: float
) -> None:
    server = [StageView(name, one) for name, one in zip(STAGES, durations, strict=False)]
    split = split_silence(silence_ms, server, end_late_ms=late_ms, own_ms={"received": own_ms})
    assert sum(stage.duration_ms for stage in split) == pytest.approx(silence_ms, abs=1e-6)
