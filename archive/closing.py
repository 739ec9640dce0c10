"""Bring the archive up to what Postgres has of closed days. It may be killed at any point and run again."""

import logging
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from archive.errors import DayTooRecent
from archive.parts.bucket import ArchiveBucket
from archive.parts.identity import archived_identities, not_in
from archive.parts.manifest import Dataset, Folder
from archive.parts.part_file import write_part
from archive.parts.payload_fields import PayloadFields
from archive.plan import PartPlan, newest_closed, plan_parts
from archive.postgres import store
from archive.postgres.source import Columns, columns_of, declared_fields, read_rows
from archive.postgres.statements import TIME_COLUMN
from archive.read_ahead import read_ahead
from registry.signature import Kind
from runtime.postgres import Connection

log = logging.getLogger("sira.archive")

# Days before the newest archived one in which paired predictions, labels and reasons are counted again.
LATE_DAYS = 3
# Batches that are read while a row group of four is written.
_AHEAD = 3
RowsProgress = Callable[[Folder, int, int], None]
"""Called with a folder, the rows that it still needs, and the rows written since the last call."""


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A part that this run has added."""

    kind: Dataset
    product: str
    day: date
    part: str
    rows: int
    bytes: int


def run(
    connection: Connection,
    bucket: ArchiveBucket,
    *,
    now: datetime,
    days: Sequence[date] | None = None,
    report: RowsProgress = lambda folder, expected, written: None,
) -> list[WrittenPart]:
    """Archive these days, or every closed day that needs it; return the parts that were added.

    `connection` is in autocommit mode and used by nothing else meanwhile. Raises ArchiveBusy, ArchiveError,
    ArtifactError or psycopg.Error; what was written by then stays.
    """
    lock = store.ArchiveLock(connection)
    closed = newest_closed(now)
    for day in days or ():
        if day > closed:
            raise DayTooRecent(day)
    adopt_manifests(connection, bucket)
    written: list[WrittenPart] = []
    for kind, day in _due(connection, closed, days):
        for product, counted in store.count_rows(connection, kind, day).items():
            closing = _Closing(connection, bucket, lock, Folder(kind, product, day), report)
            written += closing.add(plan_parts(counted, closing.manifest.hours))
    return written


def adopt_manifests(connection: Connection, bucket: ArchiveBucket) -> int:
    """Copy manifests to Postgres that it does not know: it was restored from a backup, or is a new one."""
    known = {(day.kind, day.product, day.day) for day in store.recorded_days(connection)}
    adopted = 0
    for folder in bucket.manifests():
        if (folder.kind, folder.product, folder.day) not in known:
            store.record_day(connection, bucket.manifest(folder))
            adopted += 1
    if adopted:
        log.info("manifests_adopted", extra={"manifests": adopted})
    return adopted


def _due(connection: Connection, closed: date, days: Sequence[date] | None) -> Iterator[tuple[Dataset, date]]:
    """Yield what may lack rows, by day."""
    kinds = store.datasets(connection)
    due: set[tuple[date, Dataset]] = {(day, kind) for day in days or () for kind in kinds}
    if days is None:
        behind = store.days_behind(connection, closed)
        due |= {(day, kind) for day in behind for kind in kinds}
        for kind in kinds:
            if kind != "log":
                due |= {(day, kind) for day in _recent(connection, kind, closed)}
    yield from ((kind, day) for day, kind in sorted(due))


def _recent(connection: Connection, kind: Dataset, closed: date) -> list[date]:
    newest = store.newest_archived(connection, kind)
    if newest is None:
        first = store.oldest_label(connection) if kind == "labels" else store.oldest_day(connection)
    else:
        first = newest - timedelta(days=LATE_DAYS)
    if first is None:
        return []
    return [first + timedelta(days=n) for n in range((closed - first).days + 1)]


class _Closing:
    """One folder that is brought up to date."""

    def __init__(
        self,
        connection: Connection,
        bucket: ArchiveBucket,
        lock: store.ArchiveLock,
        folder: Folder,
        report: RowsProgress,
    ) -> None:
        self._connection = connection
        self._bucket = bucket
        self._lock = lock
        self._folder = folder
        self._report = report
        self._declared: list[tuple[str, Kind]] = []
        self._fields: PayloadFields | None = None
        self.manifest = bucket.manifest(folder)
        if self.manifest.parts:
            store.record_day(connection, self.manifest)

    def add(self, plans: Sequence[PartPlan]) -> Iterator[WrittenPart]:
        """Write the planned parts; yield each once the manifest lists it."""
        if not plans:
            return
        # Read before the rows: the connection can do nothing else while it copies.
        columns = columns_of(self._connection, self._folder.kind)
        self._declared = declared_fields(self._connection, self._folder.product)
        self._report(self._folder, sum(plan.rows for plan in plans), 0)
        for plan in plans:
            with tempfile.TemporaryDirectory(prefix="sira-archive-") as folder:
                path = Path(folder, self.manifest.next_name)
                kind = self._folder.kind
                with read_ahead(self._rows(plan, columns), _AHEAD) as rows:
                    part = write_part(path, rows, TIME_COLUMN[kind], with_index=kind == "log")
                if part is None:
                    continue
                self.manifest = self._bucket.add(self.manifest, part, path, self._lock.check)
            store.record_day(self._connection, self.manifest)
            yield WrittenPart(
                self._folder.kind, self._folder.product, self._folder.day, part.name, part.rows, part.bytes
            )  # fmt: skip

    def _rows(self, plan: PartPlan, columns: Columns) -> Generator[pa.Table, None, None]:
        batches = read_rows(self._connection, self._folder, plan.hours, columns)
        if plan.late:
            batches = self._without_archived(batches, plan, columns.identity)
        for batch in batches:
            yield self._with_fields(batch) if self._folder.kind == "log" else batch
            self._report(self._folder, 0, batch.num_rows)

    def _with_fields(self, batch: pa.Table) -> pa.Table:
        """Add the payload's fields. The first part of a day decides on the columns of all."""
        if self._fields is None and self.manifest.parts:
            with self._bucket.local(self._folder, self.manifest.parts[0]) as path:
                self._fields = PayloadFields.of_schema(pq.read_schema(path))
        if self._fields is None:
            self._fields = PayloadFields.of_first_rows(self._declared, batch)
        return self._fields.added_to(batch)

    def _without_archived(
        self, batches: Iterator[pa.Table], plan: PartPlan, identity: Sequence[str]
    ) -> Iterator[pa.Table]:
        known = archived_identities(
            self._bucket, self.manifest, plan.hours, identity, TIME_COLUMN[self._folder.kind]
        )  # fmt: skip
        for batch in batches:
            new = not_in(batch, identity, known)
            if new.num_rows:
                yield new
