"""Idle time is when nothing has stirred for a while."""

from __future__ import annotations

from services.ai.adapters.llama_cpp.quiet import Quiet


class World:
    """A clock, and other models."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy = False
        self.quiet = Quiet(lambda: self.busy, lambda: self.now, after_s=0.7)

    def after(self, seconds: float) -> bool:
        """Whether it is quiet when so much time has passed."""
        self.now += seconds
        return self.quiet.reached()


def test_it_is_not_quiet_from_the_beginning():
    world = World()
    assert not world.after(0.6)
    assert world.after(0.2)


def test_who_needs_the_model_ends_the_quiet():
    world = World()
    assert world.after(5.0)
    world.quiet.stir()
    assert not world.after(0.6)
    assert world.after(0.2)


def test_it_is_never_quiet_while_captions_are_made_every_half_second():
    world = World()
    world.after(5.0)
    for step in range(100):
        world.busy = step % 10 < 2  # 100 ms of every 500
        assert not world.after(0.05)
    # The last of them ended 400 ms ago.
    assert not world.after(0.2)
    assert world.after(0.2)
