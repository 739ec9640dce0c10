"""More archived days, as copies of one with other times and ids, through the archive's own part writer."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder, Manifest
from archive.parts.part_file import write_part
from archive.postgres.statements import TIME_COLUMN

_BATCH_ROWS = 16_384
_SEED = 6
_UUID_DIGITS = [place for place in range(36) if place not in (8, 13, 18, 23)]


def copy_day(bucket: ArchiveBucket, original: Folder, days: int, report: Callable[[str], None]) -> list[Folder]:
    """Archive copies of a day's first part under the `days` days before it; return their folders, newest first."""
    part = bucket.manifest(original).parts[0]
    generator = np.random.default_rng(_SEED)
    folders = []
    with bucket.local(original, part) as source, tempfile.TemporaryDirectory() as temporary:
        for number in range(1, days + 1):
            report(f"copy {number} of {days} of a day")
            folder = Folder(original.kind, original.product, original.day - timedelta(days=number))
            manifest = Manifest.empty(folder)
            path = Path(temporary, manifest.next_name)
            copied = write_part(path, copied_rows(source, number, generator), TIME_COLUMN["log"], with_index=True)
            assert copied is not None
            assert copied.rows == part.rows
            bucket.add(manifest, copied, path, lambda: None)
            folders.append(folder)
    return folders


def copied_rows(source: Path, days: int, generator: np.random.Generator) -> Iterator[pa.Table]:
    """Yield the rows of a part with other ids, `days` days earlier."""
    with pq.ParquetFile(source, pre_buffer=False) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            table = pa.Table.from_batches([batch])
            digits = _hexadecimal(2 * table.num_rows, generator).reshape(2, table.num_rows, 32)
            uuids = np.full((table.num_rows, 36), ord("-"), np.uint8)
            uuids[:, _UUID_DIGITS] = digits[0]
            created_at = pc.subtract(table["created_at"], pa.scalar(timedelta(days=days), pa.duration("us")))
            for name, column in (
                ("prediction_id", _strings(uuids)),
                ("event_id", _strings(digits[1])),
                ("created_at", created_at.cast(table.schema.field("created_at").type)),
            ):
                table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
            yield table


def _hexadecimal(count: int, generator: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(generator.bytes(16 * count).hex().encode(), np.uint8)


def _strings(characters: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> pa.Array:
    """Return a string per row of characters."""
    rows, width = characters.shape
    offsets = np.arange(0, rows * width + 1, width, dtype=np.int32)
    data = np.ascontiguousarray(characters)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(data))
