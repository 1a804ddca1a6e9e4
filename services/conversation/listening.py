"""The learner's utterance while the tutor has the floor: shall it stop the tutor? Pure."""

from __future__ import annotations

from services.conversation.interruption import Meaning, is_answer, meaning

# After speech over a reply ended, this long for its words to come. Recognition takes 150-250 ms,
# several times that on a busy machine; a stop that comes late is worse than a pause after a cough.
_WORDS_WAIT_S = 1.2

# Speech this long over a reply is no "mhm", whether or not an engine that gives no partial
# transcripts has words for it.
_WORDLESS_LIMIT_S = 2.5


class Listening:
    """What is known of the utterance under way.

    under_way: an utterance has begun, and is neither a turn nor dropped.
    speaking: the learner is heard.
    unresolved: it began while the tutor had the floor, so the engine waits for a decision.
    counts: it is the learner's next turn if the reply ends before it was decided.
    began_ms: where it began on the session's time line.
    decide_at: when a decision is due without words; None while none is waited for.
    """

    def __init__(self) -> None:
        self.under_way = False
        self.speaking = False
        self.unresolved = False
        self.counts = False
        self.began_ms = 0
        self.decide_at: float | None = None
        self._began_at = 0.0
        self._spoke_ms: float | None = None
        self._words = ""

    def began(self, now: float, at_ms: int, *, over_reply: bool, counts: bool = False) -> None:
        """Speech began, at `at_ms` of the session's time line."""
        self.began_ms = at_ms
        self.under_way = self.speaking = True
        self.unresolved = over_reply
        self.counts = counts
        self._began_at = now
        self._spoke_ms = None
        self._words = ""

    def stopped(self, at_ms: int) -> None:
        """Speech stopped, at `at_ms` of the session's time line, perhaps only for a pause."""
        self.speaking = False
        self._spoke_ms = max(0, at_ms - self.began_ms)

    def wait_for_words(self, now: float) -> None:
        """A decision is due some time from now, if no words make it before."""
        self.decide_at = now + (_WORDLESS_LIMIT_S if self.speaking else _WORDS_WAIT_S)

    def decided(self) -> None:
        """No decision is waited for any more."""
        self.decide_at = None

    def forget(self) -> None:
        """The utterance is a turn now, or nothing."""
        self.under_way = self.speaking = self.unresolved = self.counts = False
        self.decide_at = None

    def outlives(self, turn_end_ms: int) -> bool:
        """Whether an utterance is under way that is no part of a turn that ended there."""
        return self.under_way and self.began_ms >= turn_end_ms

    def is_over_reply(self) -> None:
        """The tutor had the floor when it began, as turns out now."""
        self.unresolved = True
        self.counts = False
        self.decide_at = None

    def hear(self, words: str) -> None:
        """These are its words so far."""
        self._words = words

    def meaning(self, now: float, *, said: str, final: bool, unheard: bool) -> Meaning:
        """Say what the words so far mean; see `interruption.meaning`.

        A backchannel is one only when it is over: more may follow "yeah".
        """
        # Words come later than the speech that they are of.
        spoke_ms = (now - self._began_at) * 1000 if self._spoke_ms is None else self._spoke_ms
        found = meaning(self._words, said=said, final=final, speech_ms=spoke_ms, unheard=unheard)
        if found is Meaning.BACKCHANNEL and (self.speaking or not (final or self._words)):
            return Meaning.UNCLEAR
        return found

    def answers(self, *, said: str) -> bool:
        """Whether the words so far may answer a question; see `interruption.is_answer`."""
        return is_answer(self._words, said=said)

    def keep(self) -> None:
        """It is the next turn, once the reply has been heard to its end."""
        self.counts = True
        self.decide_at = None

    def meaning_in_the_end(self, now: float, *, said: str, unheard: bool) -> Meaning:
        """Say what it means that no more words came in time."""
        if self.speaking:
            return Meaning.INTERRUPTION
        if unheard and self._words:
            return self.meaning(now, said=said, final=True, unheard=True)
        return Meaning.BACKCHANNEL
