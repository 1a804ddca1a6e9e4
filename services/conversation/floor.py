"""Who has the floor, and what moves it. Pure."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Who has the floor."""

    LISTENING = "listening"
    REPLYING = "replying"
    PAUSED = "paused"
    ENDED = "ended"


class Trigger(Enum):
    """What moves the floor."""

    COMMITTED = "committed"
    SPEECH_OVER_REPLY = "speech over reply"
    DISMISSED = "dismissed"
    REPLY_OVER = "reply over"
    END = "end"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    # The utterance is a turn; the tutor answers.
    (State.LISTENING, Trigger.COMMITTED): State.REPLYING,
    # Perhaps an interruption: hold back until there are words.
    (State.REPLYING, Trigger.SPEECH_OVER_REPLY): State.PAUSED,
    # It was none.
    (State.PAUSED, Trigger.DISMISSED): State.REPLYING,
    # Heard to its end, interrupted, replaced by a newer turn, or failed.
    (State.REPLYING, Trigger.REPLY_OVER): State.LISTENING,
    (State.PAUSED, Trigger.REPLY_OVER): State.LISTENING,
    # A session ends with the floor at the learner: a reply under way is ended first.
    (State.LISTENING, Trigger.END): State.ENDED,
}
