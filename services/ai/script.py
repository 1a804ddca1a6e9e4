"""A script: what the scripted providers hear, write and say, how slowly, and where they fail.

A TOML file, every part optional:

    [recognizer]
    texts = ["Hello, I am Ana.", "I like to cook."]    # one a turn, then again from the first
    loud_texts = ["mhm"]          # instead, for what passes half of full scale; default: none
    delay_ms = 0

    [turn_detector]
    score = 1.0
    delay_ms = 0

    [language_model]
    replies = ["Nice to meet you! What do you like?"]
    first_token_ms = 0
    token_ms = 0

    [synthesizer]
    first_audio_ms = 0
    ms_per_word = 300

    [corrector]
    delay_ms = 0
    mistakes = [
        { original = "I has", replacement = "I have", kind = "grammar", explanation = "…" },
    ]

    [[fault]]
    where = "language_model"      # recognizer, turn_detector, language_model or synthesizer
    on_call = 3                   # the third call in a session fails …
    every = false                 # … or every third
    after_pieces = 0              # how much it gives before it fails
    retryable = true
    message = "scripted fault"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LOUD_TEXT_PEAK = 16_384
"""Half of full scale: far above the level at which a microphone is set for speech."""

Where = Literal["recognizer", "turn_detector", "language_model", "synthesizer"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RecognizerScript(_Part):
    """What is heard."""

    texts: tuple[str, ...] = Field(
        ("Hello, my name is Ana.", "I like to cook with my family.", "Yesterday I went to work."),
        min_length=1,
    )
    loud_texts: tuple[str, ...] = ()
    again: tuple[str, ...] = Field(
        (), description="What a second hearing makes of each utterance; none: it is heard once."
    )
    delay_ms: float = Field(0, ge=0)

    def heard(self, utterance: int, peak: int) -> str:
        """Return what the ``utterance``-th utterance, from 0, says; its loudest sample chooses.

        So whoever makes the audio says which kind it is, however many talk at once.
        """
        texts = self.loud_texts if self.loud_texts and peak > LOUD_TEXT_PEAK else self.texts
        return texts[utterance % len(texts)]


class TurnDetectorScript(_Part):
    """How sure the turn detector is."""

    score: float = Field(1.0, ge=0, le=1)
    delay_ms: float = Field(0, ge=0)


class LanguageModelScript(_Part):
    """What is answered."""

    replies: tuple[str, ...] = Field(
        ("Nice to meet you! What do you like to do?", "That sounds good. Tell me more, please."),
        min_length=1,
    )
    first_token_ms: float = Field(0, ge=0)
    token_ms: float = Field(0, ge=0)


class SynthesizerScript(_Part):
    """How it sounds: a tone, as long as the words take."""

    first_audio_ms: float = Field(0, ge=0)
    # 200 words a minute is brisk speech.
    ms_per_word: int = Field(300, ge=20, le=2000)


class Mistake(_Part):
    """What is corrected wherever its words are said, whatever the case and the punctuation."""

    original: str = Field(min_length=1)
    replacement: str = Field(min_length=1)
    kind: Literal["grammar", "vocabulary", "pronunciation", "style"] = "grammar"
    explanation: str = ""

    @property
    def words(self) -> list[str]:
        """The words of ``original``, in lower case."""
        return self.original.lower().split()


class CorrectorScript(_Part):
    """What is corrected, after the turn."""

    mistakes: tuple[Mistake, ...] = (
        Mistake(
            original="Yesterday I go",
            replacement="Yesterday I went",
            explanation="It is over, so it is in the past: “went”.",
        ),
    )
    delay_ms: float = Field(0, ge=0)


class Fault(_Part):
    """A failure."""

    where: Where
    on_call: int = Field(1, ge=1)
    every: bool = False
    after_pieces: int = Field(0, ge=0)
    retryable: bool = True
    message: str = "scripted fault"

    def strikes(self, call: int) -> bool:
        """Whether the ``call``-th call of a session, from 1, fails."""
        return call % self.on_call == 0 if self.every else call == self.on_call


class Script(_Part):
    """A whole script; the default is instant and never fails."""

    recognizer: RecognizerScript = RecognizerScript()
    turn_detector: TurnDetectorScript = TurnDetectorScript()
    language_model: LanguageModelScript = LanguageModelScript()
    synthesizer: SynthesizerScript = SynthesizerScript()
    corrector: CorrectorScript = CorrectorScript()
    fault: tuple[Fault, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Script:
        """Read a script file.

        Raises ``OSError``, or ``ValueError`` that names what is wrong in the file.
        """
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def fault_at(self, where: Where, call: int) -> Fault | None:
        """Return the fault that strikes the ``call``-th call at ``where``, or None."""
        return next((f for f in self.fault if f.where == where and f.strikes(call)), None)
