"""The pace of the learner's audio: as fast as speech, with room for a network's bursts. Pure."""

from __future__ import annotations

from services.conversation import problems

# A client may be held back this long in all: a microphone's clock that runs 0.1 % fast needs 7 s in
# the longest session, a stalled network a few more. Past it the audio is a file, not speech.
MAX_HELD_BACK_S = 30.0


class AudioGate:
    """Tells how long the reader must wait before it takes the next audio message.

    Full policy: more than `ahead_ms` before real time slows the reader, and more than
    `MAX_HELD_BACK_S` of that is refused.
    """

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_s = ahead_ms / 1000
        self._sound_s = 0.0
        self._since: float | None = None
        self._held_back_s = 0.0

    def admit(self, audio_ms: float, now: float) -> float:
        """Count `audio_ms` more of audio; return the seconds to wait before reading on.

        Raises:
            ResourceExhausted: AUDIO_TOO_FAST.
        """
        if self._since is None or now - self._since > self._sound_s:
            # The first, or real time has caught up: count from here.
            self._since, self._sound_s = now, 0.0
        self._sound_s += audio_ms / 1000
        wait = self._sound_s - (now - self._since) - self._ahead_s
        if wait <= 0:
            return 0.0
        self._held_back_s += wait
        if self._held_back_s > MAX_HELD_BACK_S:
            raise problems.audio_too_fast()
        return wait
