"""Every way is measured alike: each comes first as often, and none always follows the same."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.web import WAYS, _chosen, in_turn
from bench.web_cpu import by_process, used


def test_every_way_is_first_and_last_as_often_as_any_other():
    orders = [list(in_turn(WAYS, number)) for number in range(2 * len(WAYS))]
    assert all(sorted(order) == sorted(WAYS) for order in orders)
    assert set(Counter(order[0] for order in orders).values()) == {2}
    assert set(Counter(order[-1] for order in orders).values()) == {2}


def test_a_way_that_does_not_exist_is_refused_by_name():
    with pytest.raises(Exception, match="'carrier pigeon' is none of"):
        _chosen(["carrier pigeon"])
    assert _chosen([]) == WAYS
    assert _chosen(["push", "terminal"]) == ("terminal", "push")


def test_cpu_time_is_summed_by_kind_also_of_a_process_that_began_meanwhile():
    told = [
        {"type": "renderer", "id": 7, "cpuTime": 1.5},
        {"type": "GPU", "id": 8, "cpuTime": 3.0},
        {"type": "utility", "id": 9, "cpuTime": 0.5},
    ]
    before = by_process(told) | {"models": 10.0}
    assert before == {"page 7": 1.5, "drawing 8": 3.0, "browser 9": 0.5, "models": 10.0}
    after = {"page 7": 2.0, "page 11": 0.25, "drawing 8": 3.0, "browser 9": 0.75, "models": 14.0}
    assert used(before, after) == {"page": 0.75, "drawing": 0.0, "browser": 0.25, "models": 4.0}
