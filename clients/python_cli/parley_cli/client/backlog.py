"""What the learner said and may not have arrived: in order, bounded, ready to be sent again. Pure.

A message waits here until it is written, and is kept after that: only a new connection shows what
the old one had lost. Messages keep their `seq`, by which the server knows what it had already;
audio is known by its samples.

Full policies. Audio: `KEPT_AUDIO_S` of it; the oldest goes, and the server hears silence there.
What the learner did (typed, ended a turn, stopped the tutor, finished): the last `KEPT_ACTS` that
were written; the server acts on each within a turn, and nobody does so much in one turn. What waits
to be written is never dropped, for whoever sends it waits for that. Reports and pings are not kept:
a new connection begins with the newest report instead.
"""

from __future__ import annotations

from collections import deque

from parley.conversation.v1 import conversation_pb2

ConverseRequest = conversation_pb2.ConverseRequest

# The longest break that is survived (30 s), the pause before the try that finds it over (3 s), and
# what the network had swallowed before it was noticed.
KEPT_AUDIO_S = 36
KEPT_ACTS = 32

_ACTS = frozenset({"text", "interrupt", "end_turn", "finish"})


class Backlog:
    """The learner's side of one session, as far as it may have to be sent again.

    Args:
        sample_rate_hz: of the audio, int16 mono.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._most_audio = KEPT_AUDIO_S * sample_rate_hz * 2
        self._audio_bytes = 0
        self._waiting: deque[ConverseRequest] = deque()
        self._audio: deque[ConverseRequest] = deque()
        self._acts: deque[ConverseRequest] = deque(maxlen=KEPT_ACTS)

    def add(self, request: ConverseRequest) -> None:
        """Add a message that is to be written; its `seq` is the highest so far."""
        self._waiting.append(request)
        if request.HasField("audio"):
            self._audio_bytes += len(request.audio.pcm)
            while self._audio_bytes > self._most_audio:
                self._let_audio_go()

    def take(self) -> ConverseRequest | None:
        """Return the next message to write; None where none waits. It counts as written."""
        if not self._waiting:
            return None
        request = self._waiting.popleft()
        if request.HasField("audio"):
            self._audio.append(request)
        elif request.WhichOneof("message") in _ACTS:
            self._acts.append(request)
        return request

    def again(self, next_sample: int) -> None:
        """A new connection was made: what was written before waits once more, in its old order.

        Args:
            next_sample: the first sample of the audio that the server still wants.
        """
        written = [each for each in self._audio if _end(each) > next_sample]
        self._audio_bytes -= sum(_size(each) for each in self._audio if _end(each) <= next_sample)
        waiting = [each for each in self._waiting if _is_kept(each)]
        self._waiting = deque(sorted([*written, *self._acts, *waiting], key=lambda one: one.seq))
        self._audio.clear()
        self._acts.clear()

    def _let_audio_go(self) -> None:
        if self._audio:
            self._audio_bytes -= _size(self._audio.popleft())
            return
        oldest = next(at for at, each in enumerate(self._waiting) if each.HasField("audio"))
        self._audio_bytes -= _size(self._waiting[oldest])
        del self._waiting[oldest]


def _is_kept(request: ConverseRequest) -> bool:
    return request.HasField("audio") or request.WhichOneof("message") in _ACTS


def _size(request: ConverseRequest) -> int:
    return len(request.audio.pcm)


def _end(request: ConverseRequest) -> int:
    return request.audio.first_sample + len(request.audio.pcm) // 2
