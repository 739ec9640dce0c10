"""Rows of Postgres as Arrow tables, through COPY."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql
from pyarrow import csv

from archive.parts.manifest import Dataset, Folder
from archive.postgres.statements import QUERIES, TABLE
from registry.signature import Kind
from runtime.postgres import Connection

BATCH_ROWS = 16_384
# In the folder's name.
_IN_PATH = ("product", "day")
_TYPES = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "smallint": pa.int32(),
    "boolean": pa.bool_(),
    "double precision": pa.float64(),
    "real": pa.float64(),
    "date": pa.date32(),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
}
_NULL = "\\N"
# A NUL, which no text of Postgres has, stands for an escaped backslash until the other escapes are replaced.
_ESCAPES = (
    ("\\\\", "\0"),
    ("\\b", "\b"),
    ("\\f", "\f"),
    ("\\n", "\n"),
    ("\\r", "\r"),
    ("\\t", "\t"),
    ("\\v", "\v"),
    ("\0", "\\"),
)
# What follows from other columns is null (docs/adr/0025).
_EXPRESSIONS = {
    "routing_key": "nullif(routing_key, event_id)",
    "payload_sha256": "CASE WHEN payload_sha256 <> encode(sha256(convert_to(payload::text, 'UTF8')), 'hex')"
    " THEN payload_sha256 END",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table, in their order, with the types that they have in Parquet."""

    schema: pa.Schema
    identity: tuple[str, ...]

    def only_identity(self) -> Self:
        """Return the columns of the primary key alone."""
        return type(self)(pa.schema([self.schema.field(name) for name in self.identity]), self.identity)

    def selected(self) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.SQL(_EXPRESSIONS[name]) if name in _EXPRESSIONS else sql.Identifier(name) for name in self.schema.names
        )


def columns_of(connection: Connection, kind: Dataset) -> Columns:
    """Return the archived columns of a dataset's table."""
    rows = connection.execute(QUERIES["columns"], {"table": TABLE[kind]}).fetchall()
    found = [row for row in rows if row[0] not in _IN_PATH]
    schema = pa.schema([(name, _TYPES.get(of, pa.string())) for name, of, _ in found])
    return Columns(schema, tuple(name for name, _, in_key in found if in_key))


def declared_fields(connection: Connection, product: str) -> list[tuple[str, Kind]]:
    """Return the name and kind of each field in any signature of the product."""
    return list(connection.execute(QUERIES["declared_fields"], {"product": product}).fetchall())


def read_rows(connection: Connection, folder: Folder, hours: Sequence[int], columns: Columns) -> Iterator[pa.Table]:
    """Yield the rows of some hours of a day, BATCH_ROWS at a time."""
    for first, last in _spans(hours):
        start = datetime.combine(folder.day, time(), UTC)
        values = {
            "product": folder.product,
            "day": folder.day,
            "since": start + timedelta(hours=first),
            "until": start + timedelta(hours=last + 1),
        }
        statement = sql.SQL(QUERIES[f"copy_{folder.kind}"]).format(columns=columns.selected())
        with connection.cursor() as cursor, cursor.copy(statement, values) as copy:
            # One buffer: the garbage collector would visit thousands of kept lines again and again.
            text, rows = bytearray(), 0
            for line in copy:
                text += line
                rows += 1
                if rows == BATCH_ROWS:
                    yield _parsed(text, columns.schema)
                    text, rows = bytearray(), 0
            if rows:
                yield _parsed(text, columns.schema)


def _spans(hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of consecutive hours."""
    first = last = hours[0]
    for hour in hours[1:]:
        if hour != last + 1:
            yield first, last
            first = hour
        last = hour
    yield first, last


def _parsed(text: bytearray, schema: pa.Schema) -> pa.Table:
    table = csv.read_csv(
        pa.BufferReader(text),
        csv.ReadOptions(column_names=schema.names, use_threads=False, block_size=1 << 27),
        csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types=schema,
            check_utf8=False,  # Postgres has checked it
            strings_can_be_null=True,
            null_values=[_NULL],
            true_values=["t"],
            false_values=["f"],
        ),
    )
    # Each null has one backslash; any other is an escape.
    if text.count(b"\\") == sum(column.null_count for column in table.columns):
        return table
    columns = [_unescaped(column) if column.type == pa.string() else column for column in table.columns]
    return pa.Table.from_arrays(columns, schema=schema)


def _unescaped(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values of a column of COPY text. Source: PostgreSQL documentation, COPY, "Text Format"."""
    if not pc.any(pc.match_substring(texts, "\\")).as_py():
        return texts
    for escape, character in _ESCAPES:
        texts = pc.replace_substring(texts, escape, character)
    return texts
