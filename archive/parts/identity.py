"""Which rows the archive has, by their primary key."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Manifest

_SEPARATOR = "\x1f"
_BATCH_ROWS = 131_072


def identities(table: pa.Table | pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    """Return the values of a primary key as one text per row."""
    return pc.binary_join_element_wise(*(table[name].cast(pa.string()) for name in names), _SEPARATOR)


def archived_identities(
    bucket: ArchiveBucket, manifest: Manifest, hours: Sequence[int], names: Sequence[str], time_column: str
) -> pa.Array:
    """Return the identities of what the archive has of some hours of a day."""
    found = []
    for part in manifest.parts:
        if part.hours.keys() & set(hours):
            with bucket.local(manifest.folder, part) as path:
                found += list(_of_part(path, hours, names, time_column))
    return pa.concat_arrays(found) if found else pa.array([], pa.string())


def not_in(batch: pa.Table, names: Sequence[str], known: pa.Array) -> pa.Table:
    """Return the rows whose identity is not among the known."""
    return batch.filter(pc.invert(pc.is_in(identities(batch, names), value_set=known)))


def _of_part(path: Path, hours: Sequence[int], names: Sequence[str], time_column: str) -> Iterator[pa.Array]:
    with pq.ParquetFile(path) as file:
        columns = list(dict.fromkeys([*names, time_column]))
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
            wanted = pc.is_in(pc.hour(batch[time_column]), value_set=pa.array(hours, pa.int64()))
            yield identities(batch.filter(wanted), names)
