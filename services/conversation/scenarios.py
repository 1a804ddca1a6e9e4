"""The situations to practise, from `scenarios.toml` beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from parley.types.v1 import learner_pb2, scenario_pb2
from services.conversation import problems

DEFAULT_SCENARIO = "free-talk"


class Scenarios:
    """What can be practised."""

    def __init__(self, scenarios: Mapping[str, scenario_pb2.Scenario]) -> None:
        self._scenarios = dict(scenarios)

    @classmethod
    def load(cls) -> Scenarios:
        """Read the scenarios that come with the package."""
        text = resources.files(__package__).joinpath("scenarios.toml").read_text("utf-8")
        entries = [_scenario(entry) for entry in tomllib.loads(text)["scenario"]]
        return cls({entry.scenario_id: entry for entry in entries})

    def all(self) -> list[scenario_pb2.Scenario]:
        """Return every scenario, in the order in which to show them."""
        return list(self._scenarios.values())

    def find(self, scenario_id: str) -> scenario_pb2.Scenario:
        """Return a scenario; the empty id means the default.

        Raises:
            InvalidArgument: UNKNOWN_SCENARIO.
        """
        found = self._scenarios.get(scenario_id or DEFAULT_SCENARIO)
        if found is None:
            raise problems.unknown_scenario(scenario_id)
        return found


def _scenario(entry: Mapping[str, Any]) -> scenario_pb2.Scenario:
    level = learner_pb2.CEFR_LEVEL_UNSPECIFIED
    if "level" in entry:
        level = learner_pb2.CefrLevel.Value(f"CEFR_LEVEL_{entry['level']}")
    return scenario_pb2.Scenario(
        scenario_id=entry["id"],
        title=entry["title"],
        description=entry["description"],
        role=entry["role"],
        opening_line=entry["opening_line"],
        vocabulary=entry["vocabulary"],
        level=level,
    )
