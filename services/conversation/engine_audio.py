"""How the learner's audio is cut into messages to the engine. Pure.

A message costs both services about the same CPU time however long it is, and clients send fifty a
second. Where few talk each goes on at once: nothing is nearer to the learner than that. Where many
do, audio waits for more of its kind, as long as nothing hangs on it: the middle of an utterance
and the silence between turns wait long, the first words over a reply for one frame; a pause after
which the turn may be over waits for nothing, and whoever begins to speak is heard at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.conversation.learner_audio import ENGINE_RATE_HZ

_BYTES_A_MS = 2 * ENGINE_RATE_HZ // 1000

# Up to so many sessions a process has cores to spare for the shortest way.
FEW_SESSIONS = 4

_INT16 = np.dtype("<i2")

# Two frames of the usual client.
URGENT_BYTES = 40 * _BYTES_A_MS

# In silence only speech can begin, and amid speech it can only pause: both end the wait. What is
# too soft to end it waits so long at most, half of what stopping an interrupted tutor may take.
STEADY_BYTES = 120 * _BYTES_A_MS

# Silence in which there is nothing to decide and nobody to stop.
IDLE_BYTES = 200 * _BYTES_A_MS

# The engine's bound of one message.
_MAX_BYTES = 200 * _BYTES_A_MS

# Loud is what stands out from the room by 10 dB, the room being the quietest of late: a fan is not
# loud, a soft voice in a quiet room is.
_OUT_OF_ROOM = 3.2
# No room counts as quieter than a third of a percent of full scale: microphones have a noise.
_QUIETEST_ROOM = 100.0
# A room grows louder by 6 dB in three seconds of 20 ms pieces, and quieter at once.
_ROOM_GROWS = 1.005

# Speech over a reply is judged by its first words, within this long.
_ONSET_BYTES = 400 * _BYTES_A_MS

# A pause is silence after so long: by then most turns are decided on. Earlier where one was.
_SILENT_AFTER_BYTES = 1_000 * _BYTES_A_MS


@dataclass(slots=True)
class Crowd:
    """How many sessions share this process."""

    sessions: int = 0


class EngineAudio:
    """The audio of one session on its way to one engine: 16 kHz int16 mono PCM."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._held = bytearray()
        # How much of the same loudness there has been in a row. Speech may have been under way
        # when an earlier engine was lost: so it begins as a pause.
        self._loud = False
        self._same_bytes = 0
        self._decided = False
        self._over_reply = False
        self._room = _QUIETEST_ROOM

    def add(self, pcm: bytes) -> tuple[bytes, ...]:
        """Take a piece of at most 200 ms; return the messages to send now, mostly none or one."""
        held = self._held
        if not held and self._crowd.sessions <= FEW_SESSIONS:
            return (pcm,)
        enough = self._enough(pcm)
        if len(held) + len(pcm) > _MAX_BYTES:
            return (self.take(), pcm)
        held += pcm
        return (self.take(),) if len(held) >= enough else ()

    def decided(self) -> None:
        """The engine has decided on the turn: a pause is silence from here on."""
        if not self._loud:
            self._same_bytes = _SILENT_AFTER_BYTES
            self._decided = True

    def floor(self, *, tutor: bool) -> None:
        """Who has the floor from here on: what is said over a reply may have to stop it."""
        self._over_reply = tutor

    def take(self) -> bytes:
        """Return what is held, and hold it no more: something else is to be sent after it."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def _enough(self, pcm: bytes) -> int:
        """Return how much makes a message that ends with `pcm`."""
        samples = np.frombuffer(pcm, _INT16)
        # Half the time of `max()`, fifty times a second for every session.
        peak = float(samples[samples.argmax()])
        loud = peak > _OUT_OF_ROOM * self._room
        self._room = max(_QUIETEST_ROOM, min(peak, self._room * _ROOM_GROWS))
        before = self._same_bytes
        steady_after = _ONSET_BYTES if self._loud else _SILENT_AFTER_BYTES
        if loud is self._loud:
            self._same_bytes = before + len(pcm)
            if before >= steady_after:
                idle = self._decided and not self._over_reply
                return IDLE_BYTES if idle else STEADY_BYTES
            if not loud:
                return 0
            return URGENT_BYTES if self._over_reply else STEADY_BYTES
        self._loud, self._same_bytes = loud, len(pcm)
        self._decided = False
        # The end of speech is news, and so is its begin after silence; between words it is not.
        return 0 if not loud or before >= steady_after else URGENT_BYTES
