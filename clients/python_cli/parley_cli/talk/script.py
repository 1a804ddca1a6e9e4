"""Talking from recordings: each file is one utterance, then silence until the tutor has answered.

`RecordingScript` is what a virtual card hears. It is pure: it gives out frames and remembers where
each utterance lies on the session's time line; when to go on is decided by `answered` from what
the learner's side sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parley_cli.audio.files import Recording, Samples
from parley_cli.audio.speech_end import speech_end_sample
from parley_cli.session import Floor, SessionView

# Silence before the first utterance: a voice activity detector needs to know the room.
LEAD_IN_MS = 300


@dataclass(frozen=True, slots=True)
class Spoken:
    """Where an utterance lies on the session's time line, in samples.

    Attributes:
        index: of the recording.
        start: its first sample.
        end: one past its last sample.
        speech_end: one past the last sample of speech; None where it holds none.
    """

    index: int
    start: int
    end: int
    speech_end: int | None


class RecordingScript:
    """Gives out recordings one by one, with silence between them.

    Args:
        recordings: int16 mono at one rate.
        sample_rate_hz: that rate.
    """

    def __init__(self, recordings: list[Recording], sample_rate_hz: int) -> None:
        self._recordings = recordings
        self._position = 0
        self._lead_in = LEAD_IN_MS * sample_rate_hz // 1000
        self._current: Samples = np.zeros(0, dtype=np.int16)
        self._next_start: int | None = None
        self._index = -1
        self.spoken: list[Spoken] = []

    @property
    def position(self) -> int:
        """Samples given out so far."""
        return self._position

    @property
    def speaking(self) -> bool:
        """Whether an utterance is being given out, or about to be."""
        return len(self._current) > 0

    def speak_next(self) -> Spoken | None:
        """Begin the next recording with the next frame; None where there is none left."""
        if self._index + 1 >= len(self._recordings):
            return None
        self._index += 1
        recording = self._recordings[self._index]
        lead_in = max(0, self._lead_in - self._position)
        start = self._position + lead_in
        end_of_speech = speech_end_sample(recording.samples, recording.sample_rate_hz)
        silence = np.zeros(lead_in, dtype=np.int16)
        self._current = np.concatenate([silence, recording.samples])
        spoken = Spoken(
            index=self._index,
            start=start,
            end=start + len(recording.samples),
            speech_end=None if end_of_speech is None else start + end_of_speech,
        )
        self.spoken.append(spoken)
        return spoken

    def next_frame(self, count: int) -> Samples:
        """Return the next `count` samples of the time line."""
        part, self._current = self._current[:count], self._current[count:]
        self._position += count
        return np.pad(part, (0, count - len(part)))


def answered(view: SessionView, known_generations: frozenset[int], *, drained: bool) -> bool:
    """Whether an utterance has been answered and the floor is the learner's again.

    An utterance that was cut in two has been answered when its last part has: while any turn has
    words and no reply, or the last reply was interrupted, there is more to come.

    Args:
        view: what the learner's side sees.
        known_generations: replies that had begun before the utterance.
        drained: whether the loudspeaker has nothing left to play.
    """
    if not drained or view.floor is not Floor.LISTENING:
        return False
    replies = [t for t in view.turns if t.generation and t.generation not in known_generations]
    if not replies or any(not turn.end for turn in replies):
        return False
    if any(turn.utterance and not turn.generation for turn in view.turns):
        return False
    latest = max(replies, key=lambda turn: turn.generation)
    return latest.end != "interrupted" and any(turn.kind != "hint" for turn in replies)
