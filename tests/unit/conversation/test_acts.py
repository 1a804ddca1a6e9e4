"""What the learner did is carried out once, however often it is sent."""

from random import Random

from services.conversation.acts import MAX_OPEN_TEXTS, MOST_SETTLED_SEQ, Acts


def test_what_came_before_the_break_is_not_done_again():
    acts = Acts()
    assert not acts.is_repeated(2)
    assert not acts.is_repeated(5)
    acts.client_back(8)
    assert acts.is_repeated(2)
    assert acts.is_repeated(5)
    assert not acts.is_repeated(7), "the network had swallowed it"
    assert acts.is_repeated(7)
    assert not acts.is_repeated(9)


def test_a_client_that_counts_nothing_sends_nothing_again():
    acts = Acts()
    for _ in range(3):
        acts.client_back(0)
        assert not acts.is_repeated(0)


def test_a_client_that_counts_anew_sends_nothing_again():
    acts = Acts()
    assert not acts.is_repeated(9)
    acts.client_back(1)
    assert not acts.is_repeated(2)
    assert acts.settled_seq == 2
    acts.client_back(5)
    assert acts.is_repeated(2)


def test_nothing_is_a_repetition_before_the_client_came_back():
    acts = Acts()
    assert not acts.is_repeated(4)
    assert not acts.is_repeated(4)


def test_a_number_beyond_all_counting_is_settled_as_far_as_can_be_stored():
    """The turn could never be stored: the database takes no such number."""
    acts = Acts()
    acts.is_repeated(2**64 - 1)
    assert acts.settled_seq == MOST_SETTLED_SEQ == 2**63 - 1
    acts.typed(2**63, "one")
    assert acts.settled_seq == MOST_SETTLED_SEQ


def test_a_text_is_settled_when_it_is_a_turn():
    acts = Acts()
    for seq, text in ((3, "one"), (4, "two"), (7, "three")):
        acts.is_repeated(seq)
        acts.typed(seq, text)
    assert acts.settled_seq == 2
    acts.typed_turn("two")
    assert acts.texts() == ["three"], "the engine left the first one for the second"
    assert acts.settled_seq == 6
    acts.typed_turn("three")
    assert acts.settled_seq == 7


def test_the_end_of_a_turn_is_settled_when_what_was_said_is_one():
    acts = Acts()
    acts.is_repeated(3)
    acts.turn_ended(3)
    acts.is_repeated(5)
    acts.typed(5, "typed")
    assert acts.settled_seq == 2
    acts.spoken_turn()
    assert acts.settled_seq == 4


def test_another_process_knows_what_was_settled():
    acts = Acts(settled_seq=6)
    acts.client_back(12)
    assert acts.is_repeated(6)
    assert not acts.is_repeated(8)


def test_no_more_texts_are_kept_than_the_bound():
    acts = Acts()
    for seq in range(1, 2 * MAX_OPEN_TEXTS):
        acts.typed(seq, str(seq))
    assert len(acts.texts()) == MAX_OPEN_TEXTS
    assert acts.full
    assert acts.texts()[-1] == str(2 * MAX_OPEN_TEXTS - 1)


class EveryAct(Acts):
    """Keeps every end of a turn by itself."""

    def _join(self, at: int) -> None:
        pass


def test_ends_of_turns_take_no_room_and_settle_what_they_settled():
    chance, acts, every = Random(1), Acts(), EveryAct()
    for seq in range(1, 5_000):
        what, number = chance.random(), seq if chance.random() < 0.9 else 0
        for each in (acts, every):
            each.is_repeated(number)
            if what < 0.7:
                each.turn_ended(number)
            elif what < 0.98:
                each.typed(number, f"text {seq}")
            elif what < 0.985:
                each.client_back(1)
            elif what < 0.99:
                each.spoken_turn()
            elif texts := each.texts():
                each.typed_turn(texts[len(texts) // 2])
        assert (acts.texts(), acts.settled_seq) == (every.texts(), every.settled_seq)
        assert len(acts._open) <= 2 * MAX_OPEN_TEXTS + 1
