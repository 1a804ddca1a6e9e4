"""Filling history's tables with a town, as the service itself would have filled them, by COPY."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import psycopg
from psycopg.sql import SQL
from sqlalchemy.engine import make_url

from bench.history_town import MISTAKES, MadeTurn, Talk, Town
from parley.types.v1 import feedback_pb2, speech_pb2, turn_pb2
from services.common.timestamps import to_timestamp
from services.history.adapters.practice_rows import packed
from services.history.adapters.search_index import tsvector
from services.history.adapters.search_segments import TEXTS
from services.history.conversations import TurnFigures, shorten
from services.history.practice import practice_of

_COLUMNS: dict[str, str] = {
    "conversations": (
        "conversation_id, user_id, sort_at, started, ended_at, scenario_id, scenario_title, "
        "engine, voice, recording_id, turns, learner_speech_ms, median_silence_ms, corrections, "
        "preview"
    ),
    "events": "event_id, conversation_id, user_id, occurred_at, kind",
    "turns": (
        "turn_id, conversation_id, number, started_at, occurred_at, event_id, learner_text, "
        "tutor_text, words, speech_ms, silence_ms, body"
    ),
    "feedback": "conversation_id, turn_id, occurred_at, event_id, body",
    "mistakes": "conversation_id, turn_id, user_id, kind, mistake_key, occurred_at, body",
    "practice": (
        "conversation_id, quarter, user_id, turns, words, spoken_words, speech_ms, silences, "
        "corrections"
    ),
    "search_segments": "segment_id, user_id, texts",
    "search_texts": "id, conversation_id, turn_id, tutor, segment_id",
    "search_index": "rowid, words",
}

# Talks that are made up and sent at once; it bounds the memory that filling takes.
_TALKS_AT_ONCE = 200

_INDEXES = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() "
    "AND indexname LIKE 'ix_%'"
)

Told = Callable[[int], None]
"""Called with the number of turns that were stored more."""


def fill(url: str, town: Town, told: Told) -> None:
    """Fill the migrated, empty PostgreSQL database at `url` with all that the town said."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        # What refers to what is right by construction; indexes are made faster of what is there.
        connection.execute("SET session_replication_role = replica")
        indexes = connection.execute(_INDEXES).fetchall()
        for name, _ in indexes:
            _run(connection, f"DROP INDEX {name}")
        rows, talks = _Rows(), town.talks()
        while some := list(itertools.islice(talks, _TALKS_AT_ONCE)):
            for table, lines in rows.of(some).items():
                _copy(connection, table, lines)
            told(sum(len(talk.turns) for talk in some))
        _copy(connection, "search_segments", rows.segments())
        connection.execute("SET maintenance_work_mem = '256MB'")
        for _, made in indexes:
            _run(connection, made)
        for table, key in (("search_texts", "id"), ("search_segments", "segment_id")):
            sequence = f"pg_get_serial_sequence('{table}', '{key}')"
            _run(connection, f"SELECT setval({sequence}, max({key})) FROM {table}")  # noqa: S608
        connection.execute("VACUUM (ANALYZE)")


def _run(connection: psycopg.Connection, statement: str) -> None:
    # Its parts are names of our own tables.
    connection.execute(SQL(statement))


def _copy(connection: psycopg.Connection, table: str, lines: Sequence[str]) -> None:
    statement = SQL(f"COPY {table} ({_COLUMNS[table]}) FROM STDIN")
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write("".join(lines))


class _Rows:
    """Makes the rows of talks, in COPY's text format, which all our words are plain in."""

    def __init__(self) -> None:
        self._text_ids = itertools.count(1)
        self._segment_ids = itertools.count(1)
        self._open: dict[str, tuple[int, int]] = {}
        self._full: list[str] = []
        self._mistakes = _mistakes()

    def of(self, talks: Sequence[Talk]) -> Mapping[str, Sequence[str]]:
        """Return the rows of some talks, by table."""
        tables: dict[str, list[str]] = defaultdict(list)
        for talk in talks:
            self._talk(talk, tables)
        return tables

    def segments(self) -> list[str]:
        """Return the segments of the search index that all texts so far were put into."""
        still_open = (_line(segment, user, texts) for user, (segment, texts) in self._open.items())
        return [*self._full, *still_open]

    def _talk(self, talk: Talk, tables: dict[str, list[str]]) -> None:
        kinds: dict[str, Counter[int]] = {}
        for turn in talk.turns:
            self._turn(talk, turn, tables)
            if turn.mistake is not None:
                kinds[turn.turn_id] = Counter({self._mistakes[turn.mistake].kind: 1})
        figures = [
            TurnFigures(
                *(turn.turn_id, turn.started_at, turn.said.count(" ") + 1),
                *(turn.speech_ms, turn.silence_ms),
            )
            for turn in talk.turns
        ]
        user, conversation = talk.learner.user_id, talk.conversation_id
        for part in practice_of(figures, kinds):
            tables["practice"].append(
                _line(
                    *(conversation, part.quarter, user, part.turns, part.words),
                    *(part.spoken_words, part.speech_ms, packed(part.silences_ms)),
                    json.dumps(part.corrections),
                )
            )
        silences = sorted(turn.silence_ms for turn in talk.turns)
        ended = talk.turns[-1].started_at + timedelta(seconds=25)
        tables["conversations"].append(
            _line(
                *(conversation, user, talk.started_at, "t", ended, talk.scenario_id),
                *(talk.scenario_id, "local", "voice", "", len(talk.turns)),
                *(sum(turn.speech_ms for turn in talk.turns), silences[len(silences) // 2]),
                *(len(kinds), shorten(talk.turns[0].said)),
            )
        )

    def _turn(self, talk: Talk, turn: MadeTurn, tables: dict[str, list[str]]) -> None:
        user, conversation = talk.learner.user_id, talk.conversation_id
        # Its event's id is like its own, and nobody asks which is which.
        event = turn.turn_id
        tables["events"].append(_line(event, conversation, user, turn.started_at, "turn"))
        words, body = turn.said.count(" ") + 1, _body(turn).SerializeToString()
        tables["turns"].append(
            _line(
                *(turn.turn_id, conversation, turn.number, turn.started_at, turn.started_at),
                *(event, turn.said, turn.heard, words, turn.speech_ms, turn.silence_ms, body),
            )
        )
        segment = self._segment(user, 2)
        for tutor, said in (("f", turn.said), ("t", turn.heard)):
            text_id = next(self._text_ids)
            side = _line(text_id, conversation, turn.turn_id, tutor, segment)
            tables["search_texts"].append(side)
            tables["search_index"].append(_line(text_id, tsvector(segment, said.split())))
        if turn.mistake is not None:
            found = self._mistakes[turn.mistake]
            feedback = feedback_pb2.Feedback(corrections=[found]).SerializeToString()
            tables["feedback"].append(
                _line(conversation, turn.turn_id, turn.started_at, event, feedback)
            )
            key = hashlib.sha256(found.original.encode()).hexdigest()
            correction = found.SerializeToString()
            tables["mistakes"].append(
                _line(
                    conversation, turn.turn_id, user, found.kind, key, turn.started_at, correction
                )
            )

    def _segment(self, user_id: str, texts: int) -> int:
        segment, held = self._open.get(user_id, (0, TEXTS))
        if held >= TEXTS:
            if segment:
                self._full.append(_line(segment, user_id, held))
            segment, held = next(self._segment_ids), 0
        self._open[user_id] = (segment, held + texts)
        return segment


def _line(*values: str | int | bytes | datetime) -> str:
    return "\t".join(_field(value) for value in values) + "\n"


def _field(value: str | int | bytes | datetime) -> str:
    # A backslash begins an escape in COPY's format, and hexadecimal bytes begin with one.
    return f"\\\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def _body(turn: MadeTurn) -> turn_pb2.Turn:
    start = 25_000 * turn.number
    return turn_pb2.Turn(
        turn_id=turn.turn_id,
        number=turn.number,
        source=turn_pb2.UTTERANCE_SOURCE_SPEECH,
        utterance=speech_pb2.Transcript(verbatim=turn.said, clean=turn.said),
        started_at=to_timestamp(turn.started_at),
        utterance_start_ms=start,
        utterance_end_ms=start + turn.speech_ms,
        reply_text=turn.heard,
        heard_text=turn.heard,
        reply_end_reason=turn_pb2.REPLY_END_REASON_COMPLETED,
        stages=[
            turn_pb2.Stage(kind=turn_pb2.STAGE_KIND_ENDPOINT, duration_ms=300),
            turn_pb2.Stage(
                kind=turn_pb2.STAGE_KIND_FIRST_TOKEN, duration_ms=turn.silence_ms - 300.0
            ),
        ],
        engine="local",
    )


def _mistakes() -> list[feedback_pb2.Correction]:
    """Return the mistakes that the whole town makes; the first ones come up most."""
    return [
        feedback_pb2.Correction(
            correction_id=f"00000000-0000-7000-8000-{each:012x}",
            kind=(
                feedback_pb2.CORRECTION_KIND_GRAMMAR,
                feedback_pb2.CORRECTION_KIND_VOCABULARY,
                feedback_pb2.CORRECTION_KIND_STYLE,
            )[each % 3],
            original=f"he go {each}",
            replacement=f"he goes {each}",
            explanation="After he, she and it the verb has an s.",
            confidence=0.9,
        )
        for each in range(MISTAKES)
    ]
