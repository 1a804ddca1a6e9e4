"""Where the learner's loudspeaker is in a reply. Pure; `now` is in monotonic seconds.

The client reports what it has played. From a report to the next the position goes on with the
clock, and stands where the next does not come, or the first where the client has reported before;
for clients that never report it goes on with the clock up to what was sent.
"""

from __future__ import annotations

import math

from services.conversation.pacing import LEAD_MS

# A client buffers a little before it plays, and the network takes its time. Until it reports, its
# loudspeaker is taken to be this far behind what was sent.
ASSUMED_DELAY_S = 0.15

# How often clients are asked to report (docs/calling-parley.md); Parley's own do. A loudspeaker
# that stops is somewhere between its last report and the one that did not come, so this is all that
# is ever added to a report. It is half a word: people speak some 150 a minute, 400 ms each.
REPORT_EVERY_MS = 200

# The last report may be short of the end by a device's buffer: the reply is over without waiting
# for another. Sound cards and browsers hand over 10 to 50 ms at a time.
_REPORT_SLACK_MS = 60

# How long past the estimated end a client that reports is waited for: a hiccup of the network that
# the pacing's lead rides out as well, so that a reply whose last report is late is not cut.
_LATE_REPORT_S = LEAD_MS / 1000

# The same where so much is missing that the reply would count as cut off: a report that a network
# lost is repeated after a second (RFC 6298), and a busy phone or page takes its time as well. Only
# a loudspeaker that did stop keeps the tutor's turn open for so long.
_LOST_REPORT_S = 2.5

# Times are floats: 299.9999 ms is 300.
_ROUNDING_MS = 0.01


class Playback:
    """The position of one reply's playback.

    reports: the client has reported what it played, of a reply before or of this one: what it does
        not report was not heard.
    started_at, sent_at: when the first audio was sent, None before; and the last.
    report_due_from: since when there has been something to report that was not; None while there is
        nothing.
    """

    def __init__(self, *, reports: bool = False) -> None:
        self.reports = reports
        self.sent_ms = 0
        self.held_ms = 0.0
        self.reported_ms: int | None = None
        self.started_at: float | None = None
        self.sent_at = -math.inf
        self.report_due_from: float | None = None
        self._base_ms = 0.0
        self._base_at: float | None = None
        self._holds: set[str] = set()
        self._held_at = 0.0

    @property
    def started(self) -> bool:
        """Whether any audio was sent."""
        return self._base_at is not None

    def sent(self, until_ms: int, now: float) -> None:
        """Audio up to `until_ms` of the reply has been sent."""
        self.sent_at = now
        if self._base_at is None:
            self._base_at = now + ASSUMED_DELAY_S
            self._held_at = self.started_at = now
        elif not self._holds and self.running_ms(now) > self.sent_ms:
            # The loudspeaker had run dry: it goes on from here with what comes now.
            self._base_ms, self._base_at = float(self.sent_ms), now + ASSUMED_DELAY_S
        self.sent_ms = max(self.sent_ms, until_ms)
        if self.report_due_from is None:
            self.report_due_from = now

    def report(self, heard_ms: int, now: float) -> None:
        """The client has played `heard_ms`. Less than before, or more than was sent, is cut."""
        heard_ms = min(heard_ms, self.sent_ms)
        if not self.started:
            return
        if self.reported_ms is not None and heard_ms <= self.reported_ms:
            return
        self.reported_ms = heard_ms
        if heard_ms >= self.sent_ms - _REPORT_SLACK_MS:
            self.report_due_from = None
        self._base_ms, self._base_at = float(heard_ms), now
        if self._holds:
            self._held_at = now

    def give_up(self, now: float) -> None:
        """The reports stopped: what was not reported was not heard."""
        if self._known_ms is not None:
            self._base_ms, self._base_at = float(self._known_ms), now
            self.hold("stalled", now)

    def hold(self, why: str, now: float) -> None:
        """The loudspeaker stands still, for one of several reasons at once."""
        if not self._holds:
            self._held_at = now
        self._holds.add(why)

    @property
    def was_held(self) -> bool:
        """Whether it stands still, or ever did."""
        return bool(self._holds) or self.held_ms > 0

    def is_held(self, why: str) -> bool:
        """Whether it stands still for this reason."""
        return why in self._holds

    def release(self, why: str, now: float) -> None:
        """One reason to stand still is gone; with the last one the position moves on."""
        if why not in self._holds:
            return
        if len(self._holds) == 1 and self._base_at is not None:
            # It goes on from where it stands.
            self._base_ms, self._base_at = self.running_ms(now), now
            self.held_ms += (now - self._held_at) * 1000
            if self.report_due_from is not None:
                self.report_due_from = now
        self._holds.discard(why)

    def position_ms(self, now: float) -> int:
        """Return how much of the reply's audio was played by `now`.

        At most what was sent and, from a client that reports, its last report and the time to the
        next: a loudspeaker that fell silent does not go on with the clock.
        """
        most_ms = self.sent_ms
        if self._known_ms is not None:
            most_ms = min(most_ms, self._known_ms + REPORT_EVERY_MS)
        return int(min(self.running_ms(now), most_ms) + _ROUNDING_MS)

    @property
    def _known_ms(self) -> int | None:
        """How much was heard by the client's own word; None from one that never reports."""
        if self.reported_ms is None and self.reports:
            return 0
        return self.reported_ms

    def running_ms(self, now: float) -> float:
        """Return where playback would be if everything had been sent: for pacing."""
        if self._base_at is None:
            return 0.0
        if self._holds:
            now = min(now, self._held_at)
        return self._base_ms + max(0.0, now - self._base_at) * 1000

    def over_at(self, audio_ms: int) -> float | None:
        """Return when all `audio_ms` will have been played; None while it stands still."""
        if self._base_at is None or self._holds:
            return None
        if self.reported_ms is not None and self.reported_ms >= audio_ms - _REPORT_SLACK_MS:
            return self._base_at
        late = 0.0
        if self._known_ms is not None:
            late = _LOST_REPORT_S if self.stalled(audio_ms) else _LATE_REPORT_S
        return self._base_at + max(0.0, audio_ms - self._base_ms) / 1000 + late

    def reaches_at(self, position_ms: float) -> float | None:
        """Return when the position will be `position_ms`; None while it stands still."""
        if self._base_at is None or self._holds:
            return None
        return self._base_at + (position_ms - self._base_ms) / 1000

    def stalled(self, audio_ms: int) -> bool:
        """Whether the client's reports stopped before the last one that the end comes after."""
        return self._known_ms is not None and self._known_ms < audio_ms - REPORT_EVERY_MS
