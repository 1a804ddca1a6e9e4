"""Batches that overtook each other."""

import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.errors import InvalidArgument
from services.conversation.push_order import REORDER_WINDOW, PushOrder


def batch(*numbers: int) -> list[conversation_pb2.ConverseRequest]:
    return [conversation_pb2.ConverseRequest(seq=number) for number in numbers]


def test_nothing_is_lost_repeated_or_reordered():
    order = PushOrder()
    taken = []
    for numbers in [(3, 4), (3,), (1, 2), (2, 3), (6,), (5,)]:
        taken += [each.seq for each in order.take(batch(*numbers))]
    assert taken == [1, 2, 3, 4, 5, 6]
    assert order.last_seq == 6


@pytest.mark.parametrize("wrong", [0, REORDER_WINDOW + 1])
def test_what_is_too_far_ahead_is_refused_whole(wrong: int):
    order = PushOrder()
    with pytest.raises(InvalidArgument):
        order.take(batch(1, wrong))
    assert order.last_seq == 0
    assert [each.seq for each in order.take(batch(1))] == [1]
