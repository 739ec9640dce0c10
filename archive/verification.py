"""Is everything in the archive, and as its manifests say? What a partition must pass before it is dropped."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import pyarrow.parquet as pq

from archive.errors import ArchiveError
from archive.parts.bucket import ArchiveBucket
from archive.parts.identity import archived_identities, not_in
from archive.parts.manifest import Dataset, Folder, Hours, Manifest, Part
from archive.parts.part_file import rows_per_hour
from archive.plan import missing, plan_parts
from archive.postgres import store
from archive.postgres.source import columns_of, read_rows
from archive.postgres.statements import TIME_COLUMN
from runtime.postgres import Connection

_BATCH_ROWS = 131_072
Verified = Callable[[Folder, int], None]
"""Called with a folder and the rows of a part that was read back."""


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """`faults` is empty if the folder is as its manifest says and has every row that Postgres has."""

    kind: Dataset
    product: str
    day: date
    rows: int
    faults: tuple[str, ...]


def verify_day(
    connection: Connection, bucket: ArchiveBucket, day: date, *, verified: Verified = lambda folder, rows: None
) -> list[FolderCheck]:
    """Check every folder of a day, and record those without a fault. Raises ArtifactError or psycopg.Error."""
    recorded = {(found.kind, found.product) for found in store.recorded_days(connection, since=day, until=day)}
    counts = {kind: store.count_rows(connection, kind, day) for kind in store.datasets(connection)}
    checks = []
    for kind, product in sorted(recorded | {(of, product) for of, products in counts.items() for product in products}):
        folder = Folder(kind, product, day)
        check = verify_folder(connection, bucket, folder, counts.get(kind, {}).get(product, {}), verified)
        checks.append(check)
        if not check.faults:
            store.record_verified(connection, folder)
    return checks


def verify_folder(
    connection: Connection, bucket: ArchiveBucket, folder: Folder, counted: Hours, verified: Verified
) -> FolderCheck:
    """Check one folder; `counted` are the rows per hour that Postgres has of it."""
    faults: list[str] = []
    try:
        manifest = bucket.manifest(folder)
    except ArchiveError as unreadable:
        return FolderCheck(folder.kind, folder.product, folder.day, 0, (str(unreadable),))
    for part in manifest.parts:
        try:
            faults += _faults_of_part(bucket, manifest, part)
        except ArchiveError as corrupt:
            faults.append(str(corrupt))
        verified(folder, part.rows)
    if not faults:
        faults += _rows_of_postgres_that_it_lacks(connection, bucket, manifest, counted)
    return FolderCheck(folder.kind, folder.product, folder.day, manifest.rows, tuple(faults))


def _faults_of_part(bucket: ArchiveBucket, manifest: Manifest, part: Part) -> Iterator[str]:
    time_column = TIME_COLUMN[manifest.kind]
    hours: Counter[int] = Counter()
    with bucket.local(manifest.folder, part) as path, pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[time_column]):
            hours.update(rows_per_hour(batch[time_column]))
    if hours != part.hours:
        yield f"{manifest.folder.key(part.name)}: its rows per hour are not those of the manifest"


def _rows_of_postgres_that_it_lacks(
    connection: Connection, bucket: ArchiveBucket, manifest: Manifest, counted: Hours
) -> Iterator[str]:
    """Compare ids: as many rows are not yet the same rows."""
    folder = manifest.folder
    if lacking := missing(counted, manifest.hours):
        yield f"{sum(lacking.values())} rows of Postgres are not archived yet: run `python -m archive run`"
        return
    columns = columns_of(connection, folder.kind).only_identity()
    for plan in plan_parts(counted, {}):
        known = archived_identities(bucket, manifest, plan.hours, columns.identity, TIME_COLUMN[folder.kind])
        lacks = sum(
            not_in(batch, columns.identity, known).num_rows
            for batch in read_rows(connection, folder, plan.hours, columns)
        )
        if lacks:
            yield (
                f"{lacks} rows of Postgres are not archived although the counts agree: Postgres has other rows than"
                " when the day was archived"
            )
