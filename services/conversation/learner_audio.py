"""The learner's samples: their place on the session's time line, and their way to the engine.

Pure but for the resampler, which is arithmetic. Audio is int16 little-endian mono PCM. The
session's time line counts samples of the input format from the session's beginning; the engine's
counts 16 kHz samples, and leaves long gaps out (nothing can be heard in them, and a voice activity
detector would still have to look).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import soxr

from parley.types.v1 import audio_pb2
from services.common.limits import DEFAULT_LIMITS
from services.conversation import problems

ENGINE_RATE_HZ = 16_000

MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 48_000

# The engine's bound of one message.
_ENGINE_MESSAGE_SAMPLES = ENGINE_RATE_HZ * 200 // 1000

# Silence given to the engine for a gap: enough to end any utterance.
_GAP_MS = 2_000

# How far the position of an audio message may lie past everything received: a client that was
# muted for the whole session.
_MAX_JUMP_MS = int(1000 * DEFAULT_LIMITS.conversation_max_seconds)

# Audio kept so that a new engine can hear the utterance that the lost one did not finish. Full
# policy: the oldest goes.
_KEPT_MS = 30_000

# Kept while nobody speaks: an utterance's onset is noticed after about this long.
_KEPT_QUIET_MS = 1_000

# Kept beyond these at most: what is too much goes a few messages at a time.
_TRIM_EVERY_MS = 200


@dataclass(frozen=True, slots=True)
class Taken:
    """What one audio message came to.

    pcm: the new samples at the input's rate, and `first_sample` their place; both for the record.
    for_engine: 16 kHz pieces for the engine, in order, none longer than it takes.
    """

    pcm: bytes = field(repr=False)
    first_sample: int
    for_engine: tuple[bytes, ...] = field(repr=False)


class LearnerAudio:
    """The learner's side of one session.

    Args:
        rate_hz: of the input.
        max_message_ms: the longest message.
        first_sample: the first that is still wanted; more than 0 in a session that goes on.
        unplaced_sample: where, in such a session, the first message lies if it does not say: a
            client that counts nothing sends what it hears now, not what it heard then.
    """

    def __init__(
        self,
        rate_hz: int,
        max_message_ms: int,
        first_sample: int = 0,
        *,
        unplaced_sample: int = 0,
    ) -> None:
        self.rate_hz = rate_hz
        self.next_sample = first_sample
        self._unplaced_sample = max(first_sample, unplaced_sample)
        self._max_bytes = rate_hz * max_message_ms // 1000 * 2
        self._engine_samples = first_sample * ENGINE_RATE_HZ // rate_hz
        # Engine positions from which on the time line is this far ahead of the engine's.
        self._gaps_at: list[int] = [0]
        self._gaps_ms: list[int] = [0]
        # Silence that the engine has heard beyond what has come, in the input's samples.
        self._lent = 0
        self._resampler = self._new_resampler()
        self._kept: deque[bytes] = deque()
        self._kept_samples = 0
        self._trim_at = 0

    @property
    def end_ms(self) -> float:
        """How far the learner's audio has come on the session's time line."""
        return self.next_sample * 1000 / self.rate_hz

    def take(self, message_pcm: bytes, first_sample: int) -> Taken:
        """Take one audio message.

        A `first_sample` of 0 after the first message counts as not given: the samples follow the
        ones before. What was received already is skipped; a gap is filled with silence.

        Raises:
            InvalidArgument: AUDIO_FRAME_INVALID.
        """
        if len(message_pcm) % 2:
            raise problems.bad_frame("it ends inside a sample (an odd number of bytes)")
        if len(message_pcm) > self._max_bytes:
            raise problems.bad_frame("it is longer than `started.limits.audio_message_ms`")
        # From the very beginning on, 0 is a place like any other.
        first_sample = first_sample or (self._unplaced_sample if self.next_sample else 0)
        self._unplaced_sample = 0
        gap = first_sample - self.next_sample if first_sample else 0
        if gap > self.rate_hz * _MAX_JUMP_MS // 1000:
            raise problems.bad_frame("`first_sample` lies beyond the longest session")
        pieces: list[bytes] = []
        if self._lent:
            gap = self._account_for_lent(gap)
        if gap > 0:
            pieces.extend(self._skip(gap))
        elif gap < 0:
            message_pcm = message_pcm[-gap * 2 :]
        if message_pcm:
            pieces += self._to_engine(message_pcm)
        taken = Taken(message_pcm, self.next_sample, tuple(pieces))
        self.next_sample += len(message_pcm) // 2
        return taken

    def silence(self, ms: int) -> list[bytes]:
        """Let the engine hear silence while nothing comes; return it in pieces.

        It takes no place on the session's time line: whether time has gone on there, the next audio
        message says, and is taken as it would have been.
        """
        samples = self.rate_hz * ms // 1000
        self._lent += samples
        return self._to_engine(bytes(samples * 2))

    def session_ms(self, engine_ms: int) -> int:
        """Return where on the session's time line the engine's `engine_ms` lies."""
        at = bisect_right(self._gaps_at, engine_ms * ENGINE_RATE_HZ // 1000) - 1
        return engine_ms + self._gaps_ms[at]

    def engine_place(self, session_ms: float) -> int:
        """Return which sample of the engine's time line is the session's `session_ms`.

        Where a gap was left out, that is where it begins.
        """
        at = len(self._gaps_at) - 1
        while at > 0 and self.session_ms(self._gaps_at[at] * 1000 // ENGINE_RATE_HZ) > session_ms:
            at -= 1
        place = int((session_ms - self._gaps_ms[at]) * ENGINE_RATE_HZ) // 1000
        return min([max(0, place), *self._gaps_at[at + 1 : at + 2]])

    @property
    def engine_position(self) -> int:
        """The place of the next sample on the engine's time line."""
        return self._engine_samples

    @property
    def kept_from(self) -> int:
        """The place of the first kept sample on the engine's time line."""
        return self._engine_samples - self._kept_samples

    def kept_since(self, position: int) -> list[bytes]:
        """Return the kept audio from `position` of the engine's time line on, for a new engine."""
        skip = max(0, position - self.kept_from) * 2
        return _pieces(b"".join(self._kept)[skip:])

    @property
    def keeps_much(self) -> bool:
        """Whether it is time for `trim_kept`: not with every message."""
        return self._kept_samples >= self._trim_at

    def trim_kept(self, *, speaking: bool) -> None:
        """Let go of what a new engine would not need."""
        most = (_KEPT_MS if speaking else _KEPT_QUIET_MS) * ENGINE_RATE_HZ // 1000
        while self._kept and self._kept_samples - len(self._kept[0]) // 2 >= most:
            self._kept_samples -= len(self._kept.popleft()) // 2
        self._trim_at = self._kept_samples + _TRIM_EVERY_MS * ENGINE_RATE_HZ // 1000

    def _account_for_lent(self, gap: int) -> int:
        """Take the silence that the engine has heard for the gap before what comes now.

        Return how much of the gap is left. Where there was more silence than gap, the engine's time
        line gets ahead of the session's by the rest.
        """
        lent, self._lent = self._lent, 0
        covered = min(max(gap, 0), lent)
        self.next_sample += covered
        ahead_ms = (lent - covered) * 1000 // self.rate_hz
        if ahead_ms:
            self._gaps_at.append(self._engine_samples)
            self._gaps_ms.append(self._gaps_ms[-1] - ahead_ms)
        return gap - covered

    def _skip(self, samples: int) -> list[bytes]:
        """Go over a gap of `samples`; return the silence that the engine shall hear of it."""
        self.next_sample += samples
        heard = min(samples, self.rate_hz * _GAP_MS // 1000)
        pieces = self._to_engine(bytes(heard * 2))
        left_out_ms = (samples - heard) * 1000 // self.rate_hz
        if left_out_ms:
            self._gaps_at.append(self._engine_samples)
            self._gaps_ms.append(self._gaps_ms[-1] + left_out_ms)
        return pieces

    def _to_engine(self, pcm: bytes) -> list[bytes]:
        if self._resampler is not None:
            samples = np.frombuffer(pcm, dtype="<i2")
            pcm = self._resampler.resample_chunk(samples).astype("<i2").tobytes()
        if not pcm:
            return []
        self._engine_samples += len(pcm) // 2
        self._kept.append(pcm)
        self._kept_samples += len(pcm) // 2
        return _pieces(pcm)

    def _new_resampler(self) -> soxr.ResampleStream | None:
        if self.rate_hz == ENGINE_RATE_HZ:
            return None
        # HQ is soxr's default: its stop band lies below 16-bit noise, at 20 µs a 20 ms frame.
        return soxr.ResampleStream(self.rate_hz, ENGINE_RATE_HZ, 1, dtype="int16", quality="HQ")


def input_format(wanted: audio_pb2.AudioFormat) -> audio_pb2.AudioFormat:
    """Return the input format with its defaults worked out.

    Raises:
        InvalidArgument: AUDIO_FORMAT_UNSUPPORTED.
    """
    field_name = "start.input_format"
    if wanted.encoding not in (
        audio_pb2.AUDIO_ENCODING_UNSPECIFIED,
        audio_pb2.AUDIO_ENCODING_PCM_S16LE,
    ):
        raise problems.unsupported_format(field_name, "live audio is PCM_S16LE")
    if wanted.channels not in (0, 1):
        raise problems.unsupported_format(field_name, "live audio has one channel")
    rate_hz = wanted.sample_rate_hz or ENGINE_RATE_HZ
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise problems.unsupported_format(
            field_name, f"the sample rate must be {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    return pcm_format(rate_hz)


def pcm_format(rate_hz: int) -> audio_pb2.AudioFormat:
    """Return the format of live audio at `rate_hz`."""
    return audio_pb2.AudioFormat(
        encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=rate_hz, channels=1
    )


def _pieces(pcm: bytes) -> list[bytes]:
    size = _ENGINE_MESSAGE_SAMPLES * 2
    if len(pcm) <= size:
        return [pcm] if pcm else []
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]
