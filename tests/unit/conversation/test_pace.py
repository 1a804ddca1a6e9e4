"""Where a reply's playback is, and what may be sent."""

import pytest

from services.conversation.pacing import Pacer, Piece
from services.conversation.playback import ASSUMED_DELAY_S, Playback


def test_position_follows_the_clock_up_to_what_was_sent():
    playback = Playback()
    assert playback.position_ms(5.0) == 0
    playback.sent(600, 10.0)
    assert playback.position_ms(10.0 + ASSUMED_DELAY_S + 0.25) == 250
    assert playback.position_ms(20.0) == 600


def test_a_hold_stops_it_and_each_reason_must_go():
    playback = Playback()
    playback.sent(2_000, 10.0)
    at = 10.0 + ASSUMED_DELAY_S + 0.5
    playback.hold("speech", at)
    playback.hold("disconnected", at + 1)
    playback.release("speech", at + 2)
    assert playback.position_ms(at + 3) == 500
    assert playback.over_at(2_000) is None
    playback.release("disconnected", at + 3)
    assert playback.position_ms(at + 3.25) == 750
    assert playback.held_ms == pytest.approx(3_000)


def test_reports_move_it_only_forward_and_never_past_what_was_sent():
    playback = Playback()
    playback.report(500, 9.0)
    assert not playback.started
    playback.sent(1_000, 10.0)
    playback.report(400, 10.2)
    assert playback.position_ms(10.2) == 400
    playback.report(300, 10.3)
    assert playback.position_ms(10.3) == 500
    playback.report(90_000, 10.3)
    assert playback.position_ms(11.0) == 1_000


def test_of_a_client_that_reports_nothing_is_known_to_be_heard_before_it_does():
    playback = Playback(reports=True)
    playback.sent(2_000, 10.0)
    assert playback.position_ms(11.5) <= 200
    assert playback.stalled(2_000)
    assert playback.over_at(2_000) == pytest.approx(10.0 + ASSUMED_DELAY_S + 2.0 + 2.5)
    playback.give_up(15.0)
    assert playback.position_ms(15.0) == 0


def test_the_first_report_of_such_a_client_counts_as_any():
    playback = Playback(reports=True)
    playback.sent(2_000, 10.0)
    playback.report(0, 11.0)
    assert playback.position_ms(11.15) == 150
    playback.report(1_000, 12.0)
    assert playback.position_ms(12.1) == 1_100


def test_a_report_that_a_network_lost_is_waited_for_before_a_reply_counts_as_cut():
    """A busy page over batches was 700 ms late with the last words, which were then forgotten."""
    playback = Playback()
    playback.sent(4_000, 10.0)
    playback.report(3_000, 13.0)
    assert playback.over_at(4_000) == pytest.approx(14.0 + 2.5)
    # Near enough to the end nothing can be lost any more.
    playback.report(3_850, 15.0)
    assert playback.over_at(4_000) == pytest.approx(15.15 + 0.6)
    playback.report(3_990, 15.3)
    assert playback.over_at(4_000) == 15.3


def test_after_running_dry_it_goes_on_from_what_had_been_sent():
    playback = Playback()
    playback.sent(500, 10.0)
    playback.sent(1_000, 20.0)
    assert playback.position_ms(20.0 + ASSUMED_DELAY_S + 0.1) == 600


def test_the_pacer_keeps_its_order_its_lead_and_its_bound():
    pacer = Pacer(lead_ms=600, max_queued_ms=1_000)
    pieces = [Piece(at, 200, b"xx") for at in range(0, 1_000, 200)]
    assert all(pacer.push(piece) for piece in pieces)
    assert not pacer.push(Piece(1_000, 200, b"xx"))
    assert [pacer.pop_due(0) for _ in range(4)] == pieces[:4]
    assert pacer.pop_due(0) is None
    assert pacer.next_position_ms == 200
    assert pacer.pop_due(200) == pieces[4]
    assert pacer.next_position_ms is None
    assert pacer.push(Piece(1_000, 200, b"xx"))
