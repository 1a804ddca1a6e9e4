"""What the tutor knows of the learner and the situation. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """A level of the Common European Framework; UNKNOWN speaks as to B1."""

    UNKNOWN = ""
    A1 = "A1"
    A2 = "A2"
    B1 = "B1"
    B2 = "B2"
    C1 = "C1"
    C2 = "C2"


@dataclass(frozen=True, slots=True)
class LearnerProfile:
    """Who practises. ``first_language`` is a BCP 47 tag."""

    name: str = ""
    first_language: str = ""
    level: Level = Level.UNKNOWN
    interests: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """The situation that is practised; empty is free talk."""

    title: str = ""
    role: str = ""
    opening_line: str = ""
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Correction:
    """A mistake that was made lately, and what to say instead."""

    original: str
    replacement: str


class CorrectionKind(StrEnum):
    """What sort of mistake a correction is about."""

    GRAMMAR = "grammar"
    VOCABULARY = "vocabulary"
    PRONUNCIATION = "pronunciation"
    STYLE = "style"


@dataclass(frozen=True, slots=True)
class HeardWord:
    """A word of the learner's, and how sure it is that it was just this one, 0 to 1."""

    text: str
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class FoundCorrection:
    """A mistake found in an utterance, anchored to its words ``first_word`` to ``end_word``.

    ``original`` quotes those words; ``replacement`` is what to say in their place. ``confidence``
    is 0 to 1; ``scorer`` names what found it, with its version.
    """

    kind: CorrectionKind
    first_word: int
    end_word: int
    original: str
    replacement: str
    explanation: str
    confidence: float
    scorer: str


@dataclass(frozen=True, slots=True)
class PastTurn:
    """An earlier turn: what the learner said, and what the learner heard of the reply."""

    learner: str
    tutor: str
