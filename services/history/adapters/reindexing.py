"""The search index, made anew from the turns: where those came from another kind of database."""

from __future__ import annotations

from sqlalchemy import case, select, text
from sqlalchemy.orm import Session

from services.history.adapters import search_index
from services.history.adapters.tables import SearchTextRow, TurnRow

# Read at a time: texts of a few hundred characters.
_AT_ONCE = 1_000


def reindex(session: Session) -> int:
    """Empty the index and fill it with what was said in all turns; return how many texts.

    In the caller's transaction, which nobody else writes beside.
    """
    session.execute(text("DELETE FROM search_index"))
    said = case((SearchTextRow.tutor, TurnRow.tutor_text), else_=TurnRow.learner_text)
    texts = (
        select(SearchTextRow.id, SearchTextRow.segment_id, said)
        .join(TurnRow, TurnRow.turn_id == SearchTextRow.turn_id)
        .order_by(SearchTextRow.id)
        .limit(_AT_ONCE)
    )
    indexed, last = 0, 0
    # By place, not by one open cursor: on SQLite it would read what is being written.
    while rows := session.execute(texts.where(SearchTextRow.id > last)).all():
        for row_id, segment_id, words in rows:
            search_index.put(session, row_id, segment_id, words)
            last = row_id
        indexed += len(rows)
    return indexed
