"""How many messages a client may send."""

from services.conversation.message_gate import BURST_S, MessageGate


def test_a_burst_passes_and_one_more_does_not():
    gate = MessageGate(500)
    assert all(gate.admits(1.0) for _ in range(int(500 * BURST_S)))
    assert not gate.admits(1.0)


def test_time_makes_room_again_and_never_for_more_than_a_burst():
    gate = MessageGate(10)
    while gate.admits(0.0):
        pass
    assert [gate.admits(0.2) for _ in range(3)] == [True, True, False]
    later = [gate.admits(1_000.0) for _ in range(int(10 * BURST_S) + 1)]
    assert later.count(True) == int(10 * BURST_S)


def test_the_pace_of_a_microphone_never_fills_it():
    gate = MessageGate(500)
    assert all(gate.admits(number * 0.02) for number in range(10_000))
