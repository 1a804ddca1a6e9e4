"""Silence in the place of what a microphone does not send. Pure; `now` is in monotonic seconds.

Engines count their waits in audio: how long a pause lasts, and how long nobody has spoken. A client
that is muted, or whose button is up, sends none; so that those waits pass all the same, the engine
is given silence at the pace of the clock.
"""

from __future__ import annotations

import math

# Audio comes every 20 to 100 ms. After so long without, none is on its way, bar a slow network.
_NO_AUDIO_S = 0.3

_EVERY_S = 0.1

# Audio without a longer break than this comes steadily: in messages of 200 ms at most.
_STEADY_S = 0.5

# After a longer break than this the line was cut, or the microphone closed: twice what a network
# needs that loses a packet and repeats it after a second.
AWAY_S = 1.5

# Audio is heard so much later than it was recorded, at most, where nothing was cut.
_BEHIND_S = 1.0

# More than this late, the clock was not followed meanwhile: nothing is made up for.
_LATE_S = 1.0

# Enough for every wait that ends by itself: 9 s for a hint, 15 s for the most patient tutor where
# the learner asked for time. Silence costs the engine as much as speech does, and a microphone may
# be muted for an hour.
ENOUGH_S = 20.0

# Enough for an engine to tell of speech that began in the last audio before the silence.
ONSET_S = 2.0


class QuietMicrophone:
    """When audio came, when silence is due in its place, and how much.

    came_at: when the last audio came; long ago for who only types.
    steadily_from: since when audio has come without a longer break.
    """

    def __init__(self, now: float) -> None:
        self.came_at = self.steadily_from = self._back_at = -math.inf
        self._heard_until = now
        self._from = now
        self._silent_s = 0.0

    def came(self, now: float) -> None:
        """Audio came."""
        if now - self.came_at > _STEADY_S:
            self.steadily_from = now
        if now - self.came_at > AWAY_S:
            self._back_at = now
        self.came_at = now
        self._heard_until = now
        self._from = now + _NO_AUDIO_S
        self._silent_s = 0.0

    @property
    def used(self) -> bool:
        """Whether audio has come at some time: the learner speaks, and does not only type."""
        return self.came_at > -math.inf

    def waited_s(self, now: float) -> float:
        """Return for how long a silence may have lasted that the engine has heard.

        What was recorded while the line was cut comes all at once when it is back, and whose line
        is cut has not been lost for words.
        """
        return now - self._back_at + _BEHIND_S

    def begin_again(self) -> None:
        """The floor moved: waits begin anew."""
        self._silent_s = 0.0

    def due_at(self, enough_s: float) -> float | None:
        """Return when silence is due next; None where there was `enough_s` of it."""
        if self._silent_s >= enough_s:
            return None
        return max(self._from, self._heard_until + _EVERY_S)

    def take(self, now: float) -> int:
        """It is due: return how many milliseconds; they count as heard then."""
        late_s = now - max(self._from, self._heard_until + _EVERY_S)
        silent_s = now - self._heard_until if late_s <= _LATE_S else 0.0
        self._heard_until = now
        self._silent_s += silent_s
        return round(silent_s * 1000)
