"""The feigned loudspeaker knows what it played."""

from bench.interruptions_player import Player


def test_it_plays_from_the_first_audio_on_and_no_further_than_what_came():
    player = Player()
    assert player.played_ms(5.0) == 0
    player.came(200, 10.0)
    assert round(player.played_ms(10.1)) == 100
    assert player.played_ms(11.0) == 200


def test_it_waits_where_it_ran_dry():
    player = Player()
    player.came(200, 10.0)
    player.came(200, 11.0)
    assert round(player.played_ms(11.1)) == 300


def test_it_stands_still_while_it_is_told_to():
    player = Player()
    player.came(1_000, 10.0)
    player.pause(10.3)
    player.came(1_000, 10.4)
    assert round(player.played_ms(20.0)) == 300
    player.resume(20.0)
    assert round(player.played_ms(20.5)) == 800
    player.resume(20.5)
    assert round(player.played_ms(20.6)) == 900
