"""The services' databases: their tables, what waits in them, and how much is stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import case, func, select, text

from admin.errors import AdminError
from admin.installation import Keeper
from admin.looking.finding import Figures, Finding, in_bytes, lasting
from admin.schema import Schema, Standing, connected, failures_of, look
from services.common.database_url import schema_of
from services.history.adapters.tables import ConversationRow, SearchTextRow, TurnRow
from services.media.adapters.tables import RecordingRow, TrackRow
from services.user.adapters.tables import ACCOUNTS, ERASURES

LAG_SECONDS = 60.0
"""An event that waits for longer tells of a receiver that is away, or cannot keep up."""

PURGE_SECONDS = 3600.0
"""Files of a deleted recording that are there for longer tell of a store that does not let them go;
a running media service tries every half a minute or so."""

_TABLES_TO_ASK = (Standing.CURRENT, Standing.DRIFTED)


def data_of(keeper: Keeper) -> Iterator[Finding]:
    """Yield what is found of a service's tables, of its events on their way, and what it keeps."""
    try:
        schema = look(keeper)
        yield _schema(keeper, schema)
        if schema.standing not in _TABLES_TO_ASK:
            return
        if keeper.outbox is not None:
            yield _outbox(keeper)
        count = _COUNTS.get(keeper.name)
        if count is not None:
            yield count(keeper)
    except AdminError as error:
        yield Finding(f"data of {keeper.name}", False, error.message, error.advice)


def _schema(keeper: Keeper, schema: Schema) -> Finding:
    what = f"data of {keeper.name}"
    figures: Figures = {
        "kind": schema.kind,
        "revision": schema.revision,
        "newest": schema.newest,
        "standing": str(schema.standing),
    }
    match schema.standing:
        case Standing.ABSENT:
            found = f"no tables yet ({schema.kind}); they are made at the first start"
            return Finding(what, None, found, figures=figures)
        case Standing.BEHIND:
            found = f"{schema.kind}, revision {schema.revision}; this Parley has {schema.newest}"
            return Finding(
                what, False, found, "`parley admin migrate`, or the next start.", figures
            )
        case Standing.AHEAD:
            found = f"{schema.kind}, revision {schema.revision}: a newer Parley's"
            return Finding(what, False, found, "Run that version, or a later one.", figures)
        case Standing.DRIFTED:
            found = f"{schema.kind}, revision {schema.revision}, but {'; '.join(schema.drift)}"
            return Finding(what, False, found, "Somebody changed the tables by hand.", figures)
        case _:
            size = _size(keeper)
            figures["bytes"] = size
            found = f"{schema.kind}, revision {schema.revision}, {in_bytes(size)}"
            return Finding(what, True, found, figures=figures)


def _size(keeper: Keeper) -> int:
    if keeper.file is not None:
        names = (keeper.file.name + suffix for suffix in ("", "-wal", "-shm"))
        files = [keeper.file.with_name(each) for each in names]
        return sum(each.stat().st_size for each in files if each.exists())
    with failures_of(keeper), connected(keeper.url) as connection:
        query = text(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = :schema AND c.relkind IN ('r', 'm')"
        )
        return int(connection.scalar(query, {"schema": schema_of(keeper.url)}) or 0)


def _outbox(keeper: Keeper) -> Finding:
    row = keeper.outbox
    assert row is not None
    refused = row.refused_at.is_not(None)
    wanted = select(
        func.count(case((~refused, 1))),
        func.count(case((refused, 1))),
        func.min(case((~refused, row.created_at))),
    ).where(row.published_at.is_(None))
    with failures_of(keeper), connected(keeper.url) as connection:
        waiting, dead, oldest = connection.execute(wanted).one()
    lag = max(0.0, (datetime.now(UTC) - _utc(oldest)).total_seconds()) if oldest else 0.0
    figures: Figures = {"waiting": waiting, "oldest_seconds": round(lag, 1), "refused": dead}
    found = f"{waiting:,} wait" + (f", the oldest for {lasting(lag)}" if waiting else "")
    if dead:
        return Finding(
            f"events of {keeper.name}",
            False,
            f"{found}; {dead:,} refused",
            "`parley admin dead-letters list` says why.",
            figures,
        )
    if lag > LAG_SECONDS:
        advice = "Is Parley stopped, or the service away that they are for?"
        return Finding(f"events of {keeper.name}", False, found, advice, figures)
    return Finding(f"events of {keeper.name}", True, found, figures=figures)


def _accounts(keeper: Keeper) -> Finding:
    with failures_of(keeper), connected(keeper.url) as connection:
        accounts = connection.scalar(select(func.count()).select_from(ACCOUNTS)) or 0
        erasures = connection.scalar(select(func.count()).select_from(ERASURES)) or 0
    found = f"{accounts:,}" + (f"; {erasures:,} deleted ones are being erased" if erasures else "")
    return Finding("accounts", None, found, figures={"accounts": accounts, "erasures": erasures})


def _transcripts(keeper: Keeper) -> Finding:
    talks = select(func.count()).where(ConversationRow.deleted_at.is_(None))
    unplaced_texts = select(func.count()).where(SearchTextRow.segment_id == 0)
    with failures_of(keeper), connected(keeper.url) as connection:
        conversations = connection.scalar(talks) or 0
        turns = connection.scalar(select(func.count()).select_from(TurnRow)) or 0
        unplaced = connection.scalar(unplaced_texts) or 0
    figures: Figures = {"conversations": conversations, "turns": turns, "unplaced": unplaced}
    found = f"{conversations:,} conversations, {turns:,} turns"
    if not unplaced:
        return Finding("transcripts", None, found, figures=figures)
    return Finding(
        "transcripts",
        False,
        f"{found}; no search finds {unplaced:,} texts, and their turns are not added up",
        "A process of the version before wrote them. When none is left: "
        "`python -m services.history recount`.",
        figures,
    )


def _recordings(keeper: Keeper) -> Finding:
    alive = RecordingRow.deleted_at.is_(None)
    sizes = (
        select(func.coalesce(func.sum(TrackRow.size_bytes), 0))
        .join(RecordingRow, RecordingRow.recording_id == TrackRow.recording_id)
        .where(alive)
    )
    states = select(RecordingRow.state, func.count()).where(alive).group_by(RecordingRow.state)
    left = select(func.count(), func.min(RecordingRow.deleted_at)).where(
        RecordingRow.deleted_at.is_not(None), RecordingRow.purged_at.is_(None)
    )
    with failures_of(keeper), connected(keeper.url) as connection:
        size = int(connection.scalar(sizes) or 0)
        unpurged, oldest = connection.execute(left).one()
        counted = {str(state): int(count) for state, count in connection.execute(states)}
    total = sum(counted.values())
    rest = ", ".join(f"{count:,} {state}" for state, count in counted.items() if state != "ready")
    found = f"{total:,}, {in_bytes(size)}" + (f" ({rest})" if rest else "")
    figures: Figures = {"recordings": total, "bytes": size, **counted, "unpurged": unpurged}
    if oldest is None:
        return Finding("recordings", None, found, figures=figures)
    since = max(0.0, (datetime.now(UTC) - _utc(oldest)).total_seconds())
    found += f"; {unpurged:,} deleted with files still there, the first for {lasting(since)}"
    if since <= PURGE_SECONDS:
        return Finding("recordings", None, found, figures=figures)
    advice = "Is Parley stopped, or does the store not let it delete? The media log says."
    return Finding("recordings", False, found, advice, figures)


_COUNTS = {"user": _accounts, "history": _transcripts, "media": _recordings}


def _utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)
