"""A reply whose process died while it was being said: closed where the learner had heard it. Pure.

While a reply is said, its turn is kept as it would be if the reply broke off now. The process that
goes on with the session learns from the client how much was heard. What was heard is not said
again; what was not heard is answered anew.
"""

from __future__ import annotations

from parley.types.v1 import turn_pb2
from services.conversation.events import KeepTurn, SaveTurn
from services.conversation.heard import SpokenWord, TextPiece, heard_text

# A loudspeaker's last report may be short of the end by so much.
_REPORT_SLACK_MS = 60

_COMPLETED = turn_pb2.REPLY_END_REASON_COMPLETED


def close(kept: KeepTurn, generation: int, heard_ms: int) -> SaveTurn | None:
    """Return the turn that broke off, as it is to be stored; None where nothing of it was heard.

    Args:
        kept: the turn, as it was kept last.
        generation: the newest reply that the client knows.
        heard_ms: how much it has played of it.
    """
    if generation != kept.turn.generation or heard_ms <= 0:
        return None
    turn = turn_pb2.Turn()
    turn.CopyFrom(kept.turn)
    whole = turn.reply_end_reason == _COMPLETED
    if whole and heard_ms >= turn.reply_ms - _REPORT_SLACK_MS:
        turn.heard_ms, turn.heard_text = turn.reply_ms, turn.reply_text
    else:
        turn.reply_end_reason = turn_pb2.REPLY_END_REASON_FAILED
        turn.heard_ms = min(heard_ms, turn.reply_ms)
        turn.heard_text = heard_text([_piece(turn)], turn.reply_ms, turn.heard_ms)
    return SaveTurn(turn, kept.accounted_ms, kept.typical_pause_ms, kept.accounted_seq)


def _piece(turn: turn_pb2.Turn) -> TextPiece:
    words = tuple(
        SpokenWord(word.text, word.start_ms, word.end_ms, word.times_estimated)
        for word in turn.reply_words
    )
    return TextPiece(turn.reply_text, 0, words)
