"""The pace of the learner's audio: as fast as speech, with room for a network's bursts. Pure."""

from __future__ import annotations

from services.common.limits import DEFAULT_LIMITS
from services.conversation import problems

# What piled up while a network or a busy machine stood still may come at once, up to this much. It
# must not be held against the client.
MAX_CATCH_UP_S = DEFAULT_LIMITS.audio_catch_up_seconds


class AudioGate:
    """Tells how long the reader must wait before it takes the next audio message.

    Real time earns credit, audio spends it. Full policy: without credit the reader waits for it,
    and more than `held_back_s` of waiting in all is refused.

    Args:
        ahead_ms: the credit to begin with: how far ahead of real time a steady sender may be.
        held_back_s: how long it may be held back in all.
        catching_up: the session goes on after a break: what piled up meanwhile comes first. Held
            back, the learner would be heard late for the rest of it.
    """

    def __init__(
        self,
        ahead_ms: int,
        held_back_s: float = DEFAULT_LIMITS.audio_held_back_seconds,
        *,
        catching_up: bool = False,
    ) -> None:
        ahead_s = ahead_ms / 1000
        self._most_s = max(ahead_s, MAX_CATCH_UP_S)
        self._credit_s = self._most_s if catching_up else ahead_s
        self._at: float | None = None
        self._most_held_back_s = held_back_s
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
        if self._held_back_s > self._most_held_back_s:
            raise problems.audio_too_fast()
        return wait
