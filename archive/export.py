"""Training sets: one row per answered event, with its fields, its label, and what was decided."""

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archive.errors import NothingToExport, OutputRefused
from archive.events import DayOfEvents, days_of_events, read_events
from archive.parts.bucket import ArchiveBucket
from archive.parts.payload_fields import PayloadFields
from archive.postgres import store
from archive.postgres.source import declared_fields
from registry.artifacts import open_backend
from registry.artifacts.folder import rename_durably, temporary_file
from runtime.postgres import Connection, connect

_READ = ["prediction_id", "event_id", "created_at", "payload", "model_version", "score", "decision", "outcome",
         "propensity"]  # fmt: skip
_HEAD = ["event_id", "created_at", "prediction_id", "model_version", "score", "decision", "outcome"]


@dataclass(frozen=True, slots=True)
class Exported:
    """`read`: logged rows; `events`: rows written; `labelled`: those with a label."""

    out: str
    read: int
    events: int
    labelled: int
    bytes: int


def export(
    database_url: str,
    bucket: ArchiveBucket,
    *,
    product: str,
    since: date,
    until: date,
    only_labelled: bool,
    out: str,
    progress: Callable[[int, int], None],
    statement_timeout_ms: int,
) -> Exported:
    """Write the events of a product from `since` to `until` to a Parquet file or an s3:// address.

    An event that was scored more than once counts once, with its first answer; failures to score are left out.
    `progress` receives the rows to read in all and those read since the last call. Raises NothingToExport,
    OutputRefused, ArchiveError, ArtifactError or psycopg.Error.
    """
    _check(out)
    with (
        connect(database_url, name="export", autocommit=True, statement_timeout_ms=statement_timeout_ms) as rows,
        connect(database_url, name="export-labels", autocommit=True) as labels,
        _Seen.open() as seen,
        _output(out) as path,
    ):
        days = days_of_events(rows, bucket, product, since, until)
        if not days:
            raise NothingToExport(product, since, until)
        progress(sum(day.rows for day in days), 0)
        written = _write(path, _Source(rows, labels, bucket, product, seen, progress), days, only_labelled)
        size = path.stat().st_size
    return Exported(out, sum(day.rows for day in days), *written, size)


@dataclass(frozen=True, slots=True)
class _Source:
    """`rows` copies predictions, during which it can do nothing else; `labels` looks labels up meanwhile."""

    rows: Connection
    labels: Connection
    bucket: ArchiveBucket
    product: str
    seen: "_Seen"
    progress: Callable[[int, int], None]

    def events(self, days: Sequence[DayOfEvents]) -> Iterator[pa.Table]:
        for day in days:
            for batch in read_events(self.rows, self.bucket, day, _READ, lambda done: self.progress(0, done)):
                answered = batch.filter(pc.is_valid(batch["score"]))
                yield answered.filter(self.seen.first(answered["event_id"].to_pylist()))


def _write(path: Path, source: _Source, days: Sequence[DayOfEvents], only_labelled: bool) -> tuple[int, int]:
    """Return the numbers of events and of labelled events."""
    declared = declared_fields(source.labels, source.product)
    fields: PayloadFields | None = None
    writer: pq.ParquetWriter | None = None
    events = labelled = 0
    try:
        for batch in source.events(days):
            if fields is None and batch.num_rows:
                fields = PayloadFields.of_first_rows(declared, batch)
            if fields is None:
                continue
            table = _with_labels(
                fields.added_to(batch), store.labels_of(source.labels, source.product, batch["event_id"].to_pylist())
            )
            if only_labelled:
                table = table.filter(pc.is_valid(table["label"]))
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            if table.num_rows:
                writer.write_table(table)
            events += table.num_rows
            labelled += table.num_rows - table["label"].null_count
    finally:
        if writer:
            writer.close()
    if not events:
        raise NothingToExport(source.product, days[0].manifest.day, days[-1].manifest.day)
    return events, labelled


def _with_labels(table: pa.Table, labels: dict[str, str]) -> pa.Table:
    found = pa.array([labels.get(event_id) for event_id in table["event_id"].to_pylist()], pa.string())
    head = [table[name] for name in _HEAD]
    rest = [name for name in table.column_names if name not in _READ]
    return pa.table(
        [*head, found, _propensities(table), *(table[name] for name in rest)],
        names=[*_HEAD, "label", "propensity", *rest],
    )


def _propensities(table: pa.Table) -> pa.ChunkedArray:
    """Return the probability with which each event passed: 1 unless it was blocked, or a control group had a say."""
    certain = pc.if_else(pc.equal(table["decision"], "block"), 0.0, 1.0)
    return pc.coalesce(table["propensity"], certain)


class _Seen:
    """The events that were read, on disk: a set of them would grow with the export."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -65536"):
            db.execute(f"PRAGMA {pragma}")
        db.execute("CREATE TABLE seen (event INTEGER PRIMARY KEY)")

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["_Seen"]:
        with tempfile.TemporaryDirectory(prefix="sira-export-") as folder:
            db = sqlite3.connect(Path(folder, "seen.sqlite"), isolation_level=None)
            try:
                yield cls(db)
            finally:
                db.close()

    def first(self, event_ids: Sequence[str]) -> pa.Array:
        """Return for each event whether it was not seen before. 64 bits of a digest stand for an event."""
        self._db.execute("BEGIN")
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        new = [self._db.execute(insert, (_digest(event_id),)).rowcount == 1 for event_id in event_ids]
        self._db.execute("COMMIT")
        return pa.array(new, pa.bool_())


def _digest(event_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "big", signed=True)


def _check(out: str) -> None:
    if not out.endswith(".parquet"):
        raise OutputRefused(f"{out} must end in .parquet")
    parts = urlsplit(out)
    if parts.scheme == "s3" and not (parts.netloc and parts.path.strip("/")):
        raise OutputRefused(f"{out} must be s3://BUCKET/KEY.parquet")
    if parts.scheme not in ("", "s3", "file"):
        raise OutputRefused(f"{out} must be a file or s3://BUCKET/KEY.parquet")


@contextmanager
def _output(out: str) -> Iterator[Path]:
    """Yield a file to write, which appears under its name when it is complete."""
    parts = urlsplit(out)
    if parts.scheme == "s3":
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            yield Path(file.name)
            open_backend(f"s3://{parts.netloc}").write(Path(file.name), parts.path.strip("/"), lambda sent: None)
        return
    target = Path(parts.path)
    with temporary_file(target.parent) as partial:
        yield partial
        rename_durably(partial, target)
