"""What can be wrong with a file that a learner brings, in a word for programs."""

from __future__ import annotations

from enum import StrEnum


class Problem(StrEnum):
    """What is wrong; `problem` in the error's metadata."""

    NOT_AUDIO = "not_audio"
    """It begins like no kind of file that is taken, whatever it is called."""
    DAMAGED = "damaged"
    """It contradicts itself, or cannot be decoded."""
    TRUNCATED = "truncated"
    """It ends before what it says that it holds."""
    FOREIGN = "foreign"
    """It is another kind of file as well, or has something else behind its end."""
    CODEC = "codec"
    """Its sound is in a form that is not taken."""
    TOO_COSTLY = "too_costly"
    """Decoding it takes more time or memory than a file may."""
    NO_AUDIO = "no_audio"
    """It can be read and holds no sound."""
    TOO_LONG = "too_long"
    """It lasts longer than a recording may."""
    TOO_LARGE = "too_large"
    """It has more bytes than a file may."""


class Refused(Exception):
    """A file is not taken."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem
