"""The parts of the log that a backtest reads: each is read by one process, and a plan is what all of them are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder, Part
from archive.postgres.source import Columns, columns_of, read_rows
from backtest.replay import EVENT_COLUMNS
from backtest.sources.labels import QUERIES
from backtest.tally.layout import BATCH_ROWS
from registry.artifacts import open_backend
from runtime.postgres import Connection, connect

# A day in Postgres is split, so that several processes can read it. Each reads the whole partition.
_HOURS_PER_PART = 6
_TYPES = {"created_at": pa.timestamp("us", "UTC"), "score": pa.float64(), "propensity": pa.float64()}
_SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in EVENT_COLUMNS])
# Nearly every value differs: a dictionary of them would be as large as the column.
_UNIQUE = {"prediction_id", "event_id", "payload"}


@dataclass(frozen=True, slots=True)
class PostgresDay:
    """Some hours of a day in Postgres. `rows` is what the hourly counts say."""

    database_url: str
    product: str
    day: date
    hours: tuple[int, ...]
    rows: int

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yield the day's rows through COPY; payload fields are in the text only."""
        folder = Folder("log", self.product, self.day)
        with connect(self.database_url, name="backtest", autocommit=True, statement_timeout_ms=0) as connection:
            present = columns_of(connection, "log").schema.names
            # Before migration 012 there is no propensity.
            schema = pa.schema([field for field in _SCHEMA if field.name in present])
            for table in read_rows(connection, folder, self.hours, Columns(schema, ())):
                yield from table.combine_chunks().to_batches()


@dataclass(frozen=True, slots=True)
class ArchivedPart:
    """A Parquet part in the bucket, which is fetched and verified before it is read."""

    model_bucket: str
    folder: Folder
    part: Part

    @property
    def rows(self) -> int:
        return self.part.rows

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with ArchiveBucket(open_backend(self.model_bucket)).local(self.folder, self.part) as path:
            yield from read_part(path, columns)


@dataclass(frozen=True, slots=True)
class PartFile:
    """A Parquet part as a local file."""

    path: Path

    @property
    def rows(self) -> int:
        return int(pq.read_metadata(self.path).num_rows)

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        yield from read_part(self.path, columns)


LogPart = PostgresDay | ArchivedPart | PartFile


def read_part(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield a part's rows, with those of the columns that it has; memory does not grow with its rows."""
    schema = pq.read_schema(path)
    present = [name for name in columns if name in schema.names]
    repeated = [name for name in present if schema.field(name).type == pa.string() and name not in _UNIQUE]
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=repeated) as file:
        # Not Dataset.to_batches, whose memory grows (arrow #39808).
        yield from file.iter_batches(batch_size=BATCH_ROWS, columns=present)


def find_parts(
    connection: Connection, *, database_url: str, model_bucket: str, product: str, since: date, until: date
) -> list[LogPart]:
    """Return the parts of the days from `since` to `until`: archived days as Parquet, others from Postgres."""
    span = {"product": product, "since": since, "until": until}
    in_postgres: dict[date, dict[int, int]] = {}
    for day, hour, rows in connection.execute(QUERIES["hours"], span):
        in_postgres.setdefault(day, {})[hour] = rows
    bucket = ArchiveBucket(open_backend(model_bucket))
    archived = {folder.day: folder for folder in bucket.manifests("log") if folder.product == product}
    found: list[LogPart] = []
    for day in sorted({*in_postgres, *(day for day in archived if since <= day <= until)}):
        counted = in_postgres.get(day, {})
        manifest = bucket.manifest(archived[day]) if day in archived else None
        if manifest and manifest.rows >= sum(counted.values()):
            found += [ArchivedPart(model_bucket, manifest.folder, part) for part in manifest.parts]
        else:  # it is not archived, or has rows that arrived later
            found += _postgres_parts(database_url, product, day, counted)
    return found


def _postgres_parts(database_url: str, product: str, day: date, counted: Mapping[int, int]) -> Iterator[PostgresDay]:
    for first in range(0, 24, _HOURS_PER_PART):
        hours = tuple(range(first, first + _HOURS_PER_PART))
        if rows := sum(counted.get(hour, 0) for hour in hours):
            yield PostgresDay(database_url, product, day, hours, rows)
