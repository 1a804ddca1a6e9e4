"""Counts by key, of which nothing is left when they are back at none."""

import pytest

from services.common.tallies import Tallies


def test_each_key_has_its_own_count():
    tallies = Tallies()
    for key in ("a", "b", "a"):
        tallies.add(key)
    assert [tallies.of(key) for key in ("a", "b", "c")] == [2, 1, 0]


def test_nothing_is_kept_of_who_has_none():
    tallies = Tallies()
    for number in range(100):
        tallies.add(number)
        assert tallies.of("a stranger") == 0
        tallies.remove(number)
    assert len(tallies) == 0


def test_a_block_gives_back_what_it_took_however_it_ends():
    tallies = Tallies()
    with pytest.raises(ValueError, match="broken"), tallies.one_more("a"):
        assert tallies.of("a") == 1
        raise ValueError("broken")
    assert len(tallies) == 0
