"""The pace of the learner's audio: as fast as speech, with room for a network's bursts. Pure."""

from __future__ import annotations

from services.conversation import problems

# A client may be held back this long in all: a microphone's clock that runs 0.1 % fast needs 7 s in
# the longest session, a stalled network a few more. Past it the audio is a file, not speech.
MAX_HELD_BACK_S = 30.0


# What piled up while a network or a busy machine stood still may come at once, up to this much: the
# longest break that a client resumes after, and what was lost before it was noticed. It must not be
# held against the client.
MAX_CATCH_UP_S = 40.0


class AudioGate:
    """Tells how long the reader must wait before it takes the next audio message.

    Real time earns credit, audio spends it. Full policy: without credit the reader waits for it,
    and more than `MAX_HELD_BACK_S` of waiting is refused.

    Args:
        ahead_ms: the credit to begin with: how far ahead of real time a steady sender may be.
        catching_up: the session goes on after a break: what piled up meanwhile comes first. Held
            back, the learner would be heard late for the rest of it.
    """

    def __init__(self, ahead_ms: int, *, catching_up: bool = False) -> None:
        ahead_s = ahead_ms / 1000
        self._most_s = max(ahead_s, MAX_CATCH_UP_S)
        self._credit_s = self._most_s if catching_up else ahead_s
        self._at: float | None = None
        self._held_back_s = 0.0

    def admit(self, audio_ms: float, now: float) -> float:
        """Count `audio_ms` more of audio; return the seconds to wait before reading on.

        Raises:
            ResourceExhausted: AUDIO_TOO_FAST.
        """
        if self._at is not None:
            self._credit_s = min(self._credit_s + now - self._at, self._most_s)
        self._at = now
        self._credit_s -= audio_ms / 1000
        if self._credit_s >= 0:
            return 0.0
        wait = -self._credit_s
        self._held_back_s += wait
        if self._held_back_s > MAX_HELD_BACK_S:
            raise problems.audio_too_fast()
        return wait
