"""Batches that overtook each other."""

import pytest

from parley.conversation.v1 import conversation_pb2
from services.common.errors import InvalidArgument
from services.conversation.push_order import REORDER_WINDOW, PushOrder


def batch(*numbers: int) -> list[conversation_pb2.ConverseRequest]:
    return [conversation_pb2.ConverseRequest(seq=number) for number in numbers]


def taken(order: PushOrder, *batches: tuple[int, ...]) -> list[int]:
    return [each.seq for numbers in batches for each in order.take(batch(*numbers))]


def test_nothing_is_lost_repeated_or_reordered():
    order = PushOrder()
    assert taken(order, (3, 4), (3,), (1, 2), (2, 3), (6,), (5,)) == [1, 2, 3, 4, 5, 6]
    assert order.last_seq == 6


@pytest.mark.parametrize("wrong", [0, REORDER_WINDOW + 1])
def test_what_is_too_far_ahead_is_refused_whole(wrong: int):
    order = PushOrder()
    with pytest.raises(InvalidArgument) as caught:
        order.take(batch(1, wrong))
    assert caught.value.reason == "SEQUENCE_GAP"
    assert caught.value.metadata == {"last_seq": "0"}
    assert taken(order, (1,)) == [1]


def test_the_window_is_exactly_as_wide_as_it_says():
    order = PushOrder()
    assert taken(order, (REORDER_WINDOW,)) == []
    assert taken(order, tuple(range(1, REORDER_WINDOW))) == list(range(1, REORDER_WINDOW + 1))


def test_a_subscription_that_goes_on_counts_on_from_its_start():
    order = PushOrder(start_seq=7)
    assert taken(order, (6,), (7,), (9,), (8,)) == [8, 9]


def test_what_is_sent_again_comes_first_and_the_start_leaves_no_gap():
    order = PushOrder(start_seq=7, first_seq=5)
    assert taken(order, (8,), (6,), (4,), (5,)) == [5, 6, 8]
    assert order.last_seq == 8


def test_nothing_sent_again_may_be_the_last_before_the_start():
    order = PushOrder(start_seq=7, first_seq=6)
    assert taken(order, (6,)) == [6]
    assert order.last_seq == 7


def test_a_stream_keeps_its_own_order_and_skips_what_it_had():
    order = PushOrder(start_seq=3)
    assert [seq for seq in (4, 5, 5, 4, 9, 6, 10) if order.follows(seq)] == [4, 5, 9, 10]


def test_below_its_start_a_stream_leaves_the_judgement_to_the_session():
    order = PushOrder(start_seq=3)
    assert [seq for seq in (1, 2, 4, 2, 0) if order.follows(seq)] == [1, 2, 4, 2, 0]
