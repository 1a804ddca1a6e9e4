"""The learner's audio on the session's time line: where it stands, and what of it is settled. Pure.

Places are milliseconds from the session's begin, counted in samples; `now` is in monotonic seconds.
"""

from __future__ import annotations

from services.conversation.listening import Listening

# Speech is noticed after it has lasted for a while, and told of an engine's way later: what came in
# the last moments before a turn ended may be the begin of the next.
_ONSET_MS = 500


class TimeLine:
    """Where the learner's audio stands.

    settled_ms: the audio up to here needs no hearing again once the last finished turn is stored:
        it is in that turn or an earlier one, or was found to be none. Only grows.
    """

    def __init__(self, settled_ms: int, now: float) -> None:
        self.settled_ms = settled_ms
        self._end_ms = float(settled_ms)
        self._end_at = now

    def came(self, end_ms: float, now: float) -> None:
        """Audio has come up to `end_ms`."""
        self._end_ms, self._end_at = end_ms, now

    @property
    def end_ms(self) -> int:
        """How far the audio has come."""
        return int(self._end_ms)

    def arrival(self, place_ms: float, now: float) -> float:
        """Return when the audio at `place_ms` came."""
        return min(now, self._end_at - (self._end_ms - place_ms) / 1000)

    def settle(self, utterance_end_ms: int, listening: Listening) -> int:
        """A turn is finished; return what is settled with it.

        An utterance that is under way, or not decided on, is not: it may be the next turn.
        """
        until_ms = self._end_ms - _ONSET_MS
        if listening.speaking or listening.unresolved:
            until_ms = min(until_ms, listening.began_ms)
        self.settled_ms = max(self.settled_ms, utterance_end_ms, int(until_ms))
        return self.settled_ms
