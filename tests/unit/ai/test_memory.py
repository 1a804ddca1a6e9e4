"""What the tutor remembers."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.ai.learner import PastTurn
from services.ai.memory import Memory


def words(turn: PastTurn) -> int:
    return len(turn.learner.split()) + len(turn.tutor.split())


def test_of_an_interrupted_reply_only_what_was_heard_is_remembered():
    memory = Memory([])
    memory.begin_turn("Hello", 4)
    memory.add_reply(4, "Nice to meet you!")
    memory.add_reply(4, " What do you like?")
    assert memory.window(100, words) == (PastTurn("Hello", "Nice to meet you! What do you like?"),)
    memory.correct_reply(4, "Nice to")
    assert memory.window(100, words) == (PastTurn("Hello", "Nice to"),)


def test_an_interruption_of_an_unknown_reply_changes_nothing():
    memory = Memory([PastTurn("Hi", "Hello!")])
    memory.correct_reply(9, "")
    memory.correct_reply(0, "")
    assert memory.window(100, words) == (PastTurn("Hi", "Hello!"),)


def test_a_reply_that_an_earlier_engine_made_is_corrected_while_it_is_being_played():
    memory = Memory([PastTurn("Hi", "Hello!"), PastTurn("Tea?", "Yes, with milk.")], 7)
    memory.correct_reply(6, "")
    memory.correct_reply(7, "Yes,")
    assert memory.window(100, words) == (PastTurn("Hi", "Hello!"), PastTurn("Tea?", "Yes,"))


def test_the_window_begins_where_it_began_as_long_as_it_fits():
    memory = Memory([])
    starts = []
    for number in range(40):
        memory.begin_turn(f"turn {number}", number + 1)
        memory.add_reply(number + 1, "one two three")
        starts.append(memory.window(50, words)[0].learner)
    moves = sum(before != after for before, after in itertools.pairwise(starts))
    assert moves <= 8


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(0, 100))
def test_the_window_is_the_end_of_the_conversation_and_fits(lengths: list[int], budget: int):
    turns = [PastTurn(" ".join(["word"] * length), "") for length in lengths]
    window = Memory(turns).window(budget, words)
    assert sum(map(words, window)) <= budget
    assert window == tuple(turns[len(turns) - len(window) :])
