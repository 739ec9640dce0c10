"""The logged predictions of some days, from the archive and, where it does not have them yet, from Postgres."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from archive.parts.bucket import ArchiveBucket
from archive.parts.identity import archived_identities, not_in
from archive.parts.manifest import Folder, Manifest
from archive.plan import PartPlan, plan_parts
from archive.postgres import store
from archive.postgres.source import columns_of, read_rows
from archive.postgres.statements import TIME_COLUMN
from runtime.postgres import Connection

BATCH_ROWS = 32_768


@dataclass(frozen=True, slots=True)
class DayOfEvents:
    """Where the rows of one day are: in the manifest's parts, and `waiting` in Postgres."""

    manifest: Manifest
    waiting: tuple[PartPlan, ...]

    @property
    def rows(self) -> int:
        return self.manifest.rows + sum(plan.rows for plan in self.waiting)


def days_of_events(
    connection: Connection, bucket: ArchiveBucket, product: str, since: date, until: date
) -> list[DayOfEvents]:
    """Return the days from `since` to `until`, both included, that have rows of the product."""
    found = []
    for number in range((until - since).days + 1):
        day = since + timedelta(days=number)
        manifest = bucket.manifest(Folder("log", product, day))
        counted = store.count_rows(connection, "log", day).get(product, {})
        events = DayOfEvents(manifest, tuple(plan_parts(counted, manifest.hours)))
        if events.rows:
            found.append(events)
    return found


def read_events(
    connection: Connection, bucket: ArchiveBucket, day: DayOfEvents, names: list[str], done: Callable[[int], None]
) -> Iterator[pa.Table]:
    """Yield columns of the table sira_predictions, a batch at a time; `done` receives the rows of each.

    A propensity is null where a part, or a database before migration 012, has none.
    """
    folder = day.manifest.folder
    for part in day.manifest.parts:
        with bucket.local(folder, part) as path, pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=names):
                yield _selected(pa.Table.from_batches([batch]), names)
                done(batch.num_rows)
    columns = columns_of(connection, "log")
    for plan in day.waiting:
        known = (
            archived_identities(bucket, day.manifest, plan.hours, columns.identity, TIME_COLUMN["log"])
            if plan.late
            else pa.array([], pa.string())
        )
        for rows in read_rows(connection, folder, plan.hours, columns):
            new = not_in(rows, columns.identity, known)
            yield _selected(new, names)
            done(new.num_rows)


def _selected(table: pa.Table, names: list[str]) -> pa.Table:
    if "propensity" in names and "propensity" not in table.column_names:
        table = table.append_column("propensity", pa.nulls(table.num_rows, pa.float64()))
    return table.select(names)
