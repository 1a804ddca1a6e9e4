"""What a service's tables are made of, as the database itself tells it, and as its revisions say.

What the revisions say is had by running them where nothing stays of it: in memory, or in
PostgreSQL's temporary schema, in a transaction that is never committed. So nothing is left out that
a database can tell of, and what no model knows, as the search index, is compared as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.pool import StaticPool

from services.common.database import configure_sqlite
from services.common.migrations import run_revisions

Anatomy = Mapping["Part", str]
"""What each part is; see `described`."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A part of a schema: a table, or one of its columns, keys, indexes.

    name: of a key or index that has one; of others what they are of.
    """

    table: str
    kind: str = "table"
    name: str = ""

    def __str__(self) -> str:
        """Return what it is called in a sentence."""
        if self.kind == "table":
            return f"table {self.table}"
        if self.kind == "column":
            return f"column {self.table}.{self.name}"
        return " ".join(each for each in (self.kind, self.name, f"of {self.table}") if each)


def differences(found: Anatomy, wanted: Anatomy) -> Iterator[str]:
    """Yield how a schema differs from the wanted one, in words, a line each."""
    for part in sorted({*found, *wanted}):
        table = Part(part.table)
        if part != table and (table in found) != (table in wanted):
            # It is missing, or too much, with all that it has.
            continue
        if part not in found:
            yield f"{part} is missing"
        elif part not in wanted:
            yield f"{part} is in no model"
        elif found[part] != wanted[part]:
            yield f"{part} is {found[part]}, not {wanted[part]}"


def described(connection: Connection) -> Anatomy:
    """Describe every table that is made without naming a schema."""
    if connection.dialect.name == "sqlite":
        return dict(_of_sqlite(connection))
    return dict(_of_postgresql(connection))


def wanted(connection: Connection, migrations: Path) -> Anatomy:
    """Describe what the revisions in a folder make on a database of this kind.

    Of a PostgreSQL database, the role must be allowed to make temporary tables.
    """
    if connection.dialect.name == "sqlite":
        return _wanted_of_sqlite(migrations)
    # What the caller reads stays as it is: the transaction ends here, and so does what is in it.
    connection.rollback()
    try:
        connection.execute(text("SET LOCAL search_path = pg_temp"))
        run_revisions(connection, migrations)
        return described(connection)
    finally:
        connection.rollback()


@cache
def _wanted_of_sqlite(migrations: Path) -> Anatomy:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    event.listen(engine, "connect", configure_sqlite)
    event.listen(engine, "begin", lambda each: each.exec_driver_sql("BEGIN"))
    try:
        with engine.connect() as connection:
            run_revisions(connection, migrations)
            return described(connection)
    finally:
        engine.dispose()


# --- SQLite -------------------------------------------------------------------------------------


def _of_sqlite(connection: Connection) -> Iterator[tuple[Part, str]]:
    tables = connection.execute(
        text(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' "
            "AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
    ).all()
    for table, statement in tables:
        virtual = statement.upper().startswith("CREATE VIRTUAL")
        yield Part(table), " ".join(statement.split()) if virtual else "a table"
        yield from _columns_of_sqlite(connection, table)
        yield from _references_of_sqlite(connection, table)
        yield from _indexes_of_sqlite(connection, table)
    triggers = text("SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger'")
    for table, name, statement in connection.execute(triggers):
        yield Part(table, "trigger", name), " ".join(statement.split())


def _columns_of_sqlite(connection: Connection, table: str) -> Iterator[tuple[Part, str]]:
    columns = connection.execute(
        text('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_xinfo(:table)'),
        {"table": table},
    ).all()
    for name, kind, mandatory, default, _ in columns:
        yield Part(table, "column", name), _column(kind, mandatory, default)
    key = [name for name, *_, place in sorted(columns, key=lambda each: each.pk) if place]
    if key:
        yield Part(table, "primary key"), f"({', '.join(key)})"


def _references_of_sqlite(connection: Connection, table: str) -> Iterator[tuple[Part, str]]:
    rows = connection.execute(
        text(
            'SELECT id, "table", group_concat("from", \', \') AS here, '
            "group_concat(\"to\", ', ') AS there, on_delete, on_update "
            "FROM (SELECT * FROM pragma_foreign_key_list(:table) ORDER BY id, seq) GROUP BY id"
        ),
        {"table": table},
    )
    for row in rows:
        yield (
            Part(table, "foreign key", f"({row.here})"),
            f"to {row.table} ({row.there}), on delete {row.on_delete}, on update {row.on_update}",
        )


def _indexes_of_sqlite(connection: Connection, table: str) -> Iterator[tuple[Part, str]]:
    indexes = connection.execute(
        text(
            'SELECT list.name, list."unique", list.origin, list.partial, '
            "(SELECT sql FROM sqlite_master WHERE type = 'index' AND name = list.name) AS sql "
            "FROM pragma_index_list(:table) AS list"
        ),
        {"table": table},
    ).all()
    for name, unique, origin, partial, statement in indexes:
        if origin == "pk":
            continue
        rows = connection.execute(
            text(
                'SELECT name, "desc", coll FROM pragma_index_xinfo(:name) WHERE key ORDER BY seqno'
            ),
            {"name": name},
        )
        parts = [
            " ".join(
                each
                for each in (
                    column or "an expression",
                    "" if collation == "BINARY" else collation,
                    "descending" if descending else "",
                )
                if each
            )
            for column, descending, collation in rows
        ]
        columns = f"({', '.join(parts)})"
        if origin == "u":
            # Its own name is a number, by the order in which they were made.
            yield Part(table, "unique key", columns), columns
            continue
        exact = f": {' '.join(statement.split())}" if partial or "an expression" in parts else ""
        yield Part(table, "index", name), ("unique " if unique else "") + columns + exact


# --- PostgreSQL ---------------------------------------------------------------------------------

_COLUMNS = (
    "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
    "CASE WHEN a.attidentity <> '' THEN 'identity ' || a.attidentity::text "
    "ELSE pg_get_expr(d.adbin, d.adrelid, true) END "
    "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
    "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    "WHERE c.relnamespace = :schema AND c.relkind IN ('r', 'p') "
    "AND a.attnum > 0 AND NOT a.attisdropped"
)
# 'n' is what PostgreSQL 18 says of every column that is mandatory, which the column says itself.
_CONSTRAINTS = (
    "SELECT c.relname, k.contype::text, k.conname, pg_get_constraintdef(k.oid, true) "
    "FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
    "WHERE c.relnamespace = :schema AND k.contype IN ('p', 'u', 'f', 'c', 'x')"
)
_INDEXES = (
    "SELECT c.relname, i.relname, pg_get_indexdef(x.indexrelid, 0, true), x.indisvalid "
    "FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid "
    "WHERE c.relnamespace = :schema AND c.relkind IN ('r', 'p') AND NOT EXISTS "
    "(SELECT FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x'))"
)
_TRIGGERS = (
    "SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid, true) "
    "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "WHERE c.relnamespace = :schema AND NOT t.tgisinternal"
)
_KEYS = {"p": "primary key", "u": "unique key", "f": "foreign key", "c": "check", "x": "exclusion"}


def _of_postgresql(connection: Connection) -> Iterator[tuple[Part, str]]:
    # The first of the path: `current_schema()` passes over the temporary one.
    path = str(connection.scalar(text("SHOW search_path"))).split(",")[0].strip().strip('"')
    if path == "pg_temp":
        name = connection.scalar(
            text("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()")
        )
    else:
        name = connection.scalar(text("SELECT current_schema()"))
    schema = connection.scalar(
        text("SELECT oid FROM pg_namespace WHERE nspname = :name"), {"name": name}
    )

    def rows(query: str) -> Iterator[tuple[str | None, ...]]:
        for row in connection.execute(text(query), {"schema": schema}):
            # Where PostgreSQL names the schema, as it does of some and not of others.
            yield tuple(
                each.replace(f"{name}.", "").replace("pg_temp.", "")
                if isinstance(each, str)
                else each
                for each in row
            )

    for table, column, kind, mandatory, default in rows(_COLUMNS):
        yield Part(str(table)), "a table"
        yield Part(str(table), "column", str(column)), _column(kind, mandatory, default)
    for table, kind, constraint, definition in rows(_CONSTRAINTS):
        yield Part(str(table), _KEYS[str(kind)], str(constraint)), str(definition)
    for table, index, definition, valid in rows(_INDEXES):
        whole = str(definition) + ("" if valid else ", which is not valid")
        yield Part(str(table), "index", str(index)), whole
    for table, trigger, definition in rows(_TRIGGERS):
        yield Part(str(table), "trigger", str(trigger)), str(definition)


def _column(kind: str | None, mandatory: object, default: str | None) -> str:
    """Describe a column as its definition does."""
    said = [kind or "of any type"]
    if mandatory:
        said.append("NOT NULL")
    if default is not None:
        said.append(f"DEFAULT {default}")
    return " ".join(said)
