"""Where the silence went."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.engine import StageKind
from services.ai.engines.stages import Marks, StageNames, describe_stages
from services.ai.fallback import Capability, Switch

MOMENT = st.one_of(st.none(), st.floats(99.0, 110.0))


@given(MOMENT, MOMENT, MOMENT, MOMENT, st.floats(110.0, 120.0))
def test_durations_add_up_to_the_silence(
    decision: float | None,
    transcript: float | None,
    first_token: float | None,
    first_clause: float | None,
    now: float,
):
    marks = Marks(100.0, decision, transcript, first_token, first_clause)
    stages = describe_stages(marks, StageNames(), now)
    assert sum(stage.duration_ms for stage in stages) == pytest.approx((now - 100.0) * 1000)
    assert all(stage.duration_ms >= 0 for stage in stages)


def test_work_that_speculation_did_before_costs_nothing():
    marks = Marks(100.0, decision=100.6, transcript=100.3, first_token=100.4, first_clause=100.5)
    stages = {stage.kind: stage for stage in describe_stages(marks, StageNames(), 100.6)}
    assert stages[StageKind.ENDPOINT].duration_ms == pytest.approx(600)
    assert stages[StageKind.FIRST_TOKEN].duration_ms == 0
    assert stages[StageKind.FIRST_TOKEN].at_ms == pytest.approx(400)


def test_a_fallback_is_told_with_its_reason():
    marks = Marks(0.0, 0.1, 0.2, 0.3, 0.4)
    marks.switches.append(Switch(Capability.LANGUAGE_MODEL, "cloud", "local", "no network"))
    stages = {s.kind: s for s in describe_stages(marks, StageNames(language_model="cloud"), 0.5)}
    assert stages[StageKind.FIRST_TOKEN].provider == "local"
    assert stages[StageKind.FIRST_TOKEN].note == "cloud failed: no network"


def test_every_provider_that_failed_on_the_way_is_told_once():
    marks = Marks(0.0, 0.1, 0.2, 0.3, 0.4)
    for failed, served in (("a", "b"), ("b", "c"), ("a", "b"), ("b", "c")):
        marks.switches.append(Switch(Capability.SYNTHESIZER, failed, served, "down"))
    stages = {s.kind: s for s in describe_stages(marks, StageNames(synthesizer="a"), 0.5)}
    assert stages[StageKind.FIRST_AUDIO].provider == "c"
    assert stages[StageKind.FIRST_AUDIO].note == "a failed: down; b failed: down"
