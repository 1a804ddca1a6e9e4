"""The situations that come with the package."""

import protovalidate
import pytest

from services.common.errors import InvalidArgument
from services.conversation.scenarios import Scenarios


def test_each_keeps_the_contract_and_has_everything_a_learner_sees():
    scenarios = Scenarios.load().all()
    assert len({each.scenario_id for each in scenarios}) == len(scenarios) >= 8
    for each in scenarios:
        protovalidate.validate(each)
        assert each.title
        assert each.description
        assert each.role
        assert each.opening_line
        assert len(each.vocabulary) >= 5


def test_none_named_is_free_talk_and_an_unknown_one_is_refused():
    scenarios = Scenarios.load()
    assert scenarios.find("").scenario_id == "free-talk"
    with pytest.raises(InvalidArgument) as caught:
        scenarios.find("on-the-moon")
    assert caught.value.reason == "UNKNOWN_SCENARIO"
