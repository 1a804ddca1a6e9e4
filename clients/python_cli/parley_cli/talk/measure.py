"""How long the learner waited: from the end of speech to the first sound of the answer.

All times are of one monotonic clock in seconds. The learner's audio is a time line of samples; the
clock time of a sample is known from when frames were heard. Where the sent waveform is known (it
is a recording) its own end of speech counts; otherwise the server's estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

from parley_cli.audio.files import Samples
from parley_cli.audio.speech_end import first_sounding_sample
from parley_cli.stages import PLAYED, RECEIVED, StageView, split_silence
from parley_cli.talk.events import TurnMeasured

# The end of a word in the waveform, and where a voice activity detector takes it to be, lie up to
# this far apart. A turn that ended earlier was committed before the last words.
_SAME_END_MS = 250


@dataclass(slots=True)
class _Reply:
    turn: int
    end_at: float | None
    end_ms: float | None
    source: str
    server_end_ms: float | None
    first_received_at: float | None = None
    sounding_received_at: float | None = None
    played_at: float | None = None
    lead_in_ms: float = 0.0
    received_samples: int = 0


class SilenceMeter:
    """Measures every reply of a session.

    Args:
        sample_rate_hz: of the learner's time line.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._origin: float | None = None
        self._waveform_end: int | None = None
        self._typed_at: float | None = None
        self._server_end_ms: float | None = None
        self._replies: dict[int, _Reply] = {}

    def captured(self, end_sample: int, at: float) -> None:
        """Note that the last sample before `end_sample` was heard at `at`.

        The earliest such evidence counts: a frame can be delivered late, never early.
        """
        origin = at - end_sample / self._rate
        self._origin = origin if self._origin is None else min(self._origin, origin)

    def speech_ends_at(self, sample: int) -> None:
        """Note where the utterance that begins now truly ends in the sent waveform."""
        self._waveform_end = sample
        self._typed_at = None
        self._server_end_ms = None

    def typed(self, at: float) -> None:
        """Note that a typed utterance was sent: waiting begins now."""
        self._typed_at = at

    def server_end(self, end_ms: float) -> None:
        """Note where the server put the end of speech."""
        self._server_end_ms = end_ms

    def reply_started(self, turn: int, generation: int, at: float, *, answers: bool = True) -> None:
        """Note that a reply begins, and decide what its silence is counted from.

        Args:
            turn: its turn.
            generation: its generation.
            at: when the message came.
            answers: False for an opening or a hint: nobody had asked, so nobody waited.
        """
        if answers:
            self._replies[generation] = self._reply(turn, at)
        else:
            self._replies[generation] = _Reply(turn, None, None, "unknown", None)

    def reply_audio(self, generation: int, samples: Samples, rate_hz: int, at: float) -> None:
        """Note audio of a reply that has arrived."""
        reply = self._replies.get(generation)
        if reply is None or reply.sounding_received_at is not None:
            return
        if reply.first_received_at is None:
            reply.first_received_at = at
        sounding = first_sounding_sample(samples)
        if sounding is None:
            reply.received_samples += len(samples)
            return
        reply.sounding_received_at = at
        reply.lead_in_ms = (reply.received_samples + sounding) * 1000 / rate_hz

    def reply_text(self, generation: int, at: float) -> None:
        """Note text of a reply; in captions-only sessions it is the answer's first sign."""
        reply = self._replies.get(generation)
        if reply is not None and reply.sounding_received_at is None:
            reply.first_received_at = reply.sounding_received_at = at

    def reply_played(self, generation: int, at: float) -> float | None:
        """Note that the loudspeaker gave out a reply's first sample.

        Returns:
            Milliseconds from its arrival to the loudspeaker; None where it is known already.
        """
        reply = self._replies.get(generation)
        if reply is None or reply.first_received_at is None or reply.played_at is not None:
            return None
        reply.played_at = at
        return max(0.0, (at - reply.first_received_at) * 1000)

    def silence_ms(self, generation: int) -> float | None:
        """The silence that the learner heard before a reply; None where it is not known yet."""
        reply = self._replies.get(generation)
        if reply is None or reply.end_at is None or reply.sounding_received_at is None:
            return None
        heard_at = reply.sounding_received_at
        if reply.played_at is not None and reply.first_received_at is not None:
            heard_at += max(0.0, reply.played_at - reply.first_received_at)
        return (heard_at - reply.end_at) * 1000

    def measured(
        self, generation: int, stages: tuple[StageView, ...], round_trip_ms: float | None
    ) -> TurnMeasured | None:
        """Everything about a reply's silence, with the stages completed; None for an unknown one.

        Args:
            generation: which reply.
            stages: the server's.
            round_trip_ms: the shortest round trip seen. The server counts from when the end of
                speech arrived there, so the way there and the way back both belong to the network.
        """
        reply = self._replies.get(generation)
        if reply is None:
            return None
        voice_to_voice_ms = None
        if reply.end_at is not None and reply.sounding_received_at is not None:
            voice_to_voice_ms = (reply.sounding_received_at - reply.end_at) * 1000
        silence_ms = self.silence_ms(generation)
        if silence_ms is not None and stages:
            own_ms = {
                RECEIVED: round_trip_ms or 0.0,
                PLAYED: silence_ms - (voice_to_voice_ms or 0.0),
            }
            late_ms = _server_end_late_ms(reply)
            stages = split_silence(silence_ms, stages, end_late_ms=late_ms, own_ms=own_ms)
        return TurnMeasured(
            turn=reply.turn,
            generation=generation,
            voice_to_voice_ms=voice_to_voice_ms,
            silence_ms=silence_ms,
            speech_end_ms=reply.end_ms,
            speech_end_source=reply.source,
            server_speech_end_ms=reply.server_end_ms,
            lead_in_ms=reply.lead_in_ms,
            stages=stages,
        )

    def _reply(self, turn: int, at: float) -> _Reply:
        server_end_ms = self._server_end_ms
        if self._typed_at is not None:
            return _Reply(turn, self._typed_at, None, "typed", None)
        if self._origin is None:
            return _Reply(turn, None, None, "unknown", server_end_ms)
        # A reply to the first half of an utterance that was cut comes before the waveform's end, or
        # answers words that ended before it: counted from there its silence would be flattering.
        end = self._waveform_end
        end_ms = None if end is None else end * 1000 / self._rate
        if end_ms is not None and self._origin + end_ms / 1000 <= at and self._is_end(end_ms):
            return _Reply(turn, self._origin + end_ms / 1000, end_ms, "waveform", server_end_ms)
        if server_end_ms is not None:
            end_at = self._origin + server_end_ms / 1000
            return _Reply(turn, end_at, server_end_ms, "server", server_end_ms)
        return _Reply(turn, None, None, "unknown", None)

    def _is_end(self, waveform_end_ms: float) -> bool:
        server_end_ms = self._server_end_ms
        return server_end_ms is None or server_end_ms >= waveform_end_ms - _SAME_END_MS


def _server_end_late_ms(reply: _Reply) -> float:
    """How far behind the waveform's end of speech the server's lies; 0 where it was counted from.

    The server's end counts where the waveform is not known.
    """
    if reply.source != "waveform" or reply.server_end_ms is None or reply.end_ms is None:
        return 0.0
    return reply.server_end_ms - reply.end_ms
