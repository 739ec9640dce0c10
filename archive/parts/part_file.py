"""Writing one Parquet part, with flat memory."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from archive.parts.manifest import Part, index_name
from registry.artifacts import sha256_of

PREFIX_DTYPE = np.dtype("<u4")
MAX_GROUP_ROWS = 65_536
_HOUR_MICROSECONDS = 3_600_000_000
# Nearly every value differs, so a dictionary would only grow.
_UNIQUE = {"prediction_id", "event_id", "payload"}
# Bytes of the same place of each number side by side: zstd finds the zeros of float32 scores there.
_NUMBERS = {"score", "latency_seconds", "model_seconds", "canary_score", "production_score"}


def write_part(path: Path, batches: Iterable[pa.Table], time_column: str, *, with_index: bool) -> Part | None:
    """Write batches of one schema as a Parquet file; return its entry in the manifest, or None without rows.

    Rows are sorted by time within a row group. `with_index` writes an index of prediction ids beside the file.
    """
    hours: Counter[int] = Counter()
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    prefixes: list[NDArray[np.uint32]] = []
    try:
        for batch in batches:
            if not batch.num_rows:
                continue
            hours.update(rows_per_hour(batch[time_column]))
            if with_index:
                prefixes.append(_prefixes(batch["prediction_id"]))
            writer = writer or _writer(path, batch.schema, time_column)
            waiting.append(batch)
            if sum(table.num_rows for table in waiting) >= MAX_GROUP_ROWS:
                _write_group(writer, waiting, time_column)
        if writer and waiting:
            _write_group(writer, waiting, time_column)
    finally:
        if writer:
            writer.close()
    if not writer:
        return None
    if with_index:
        _write_index(path, prefixes)
    return Part(path.name, hours.total(), path.stat().st_size, sha256_of(path), dict(sorted(hours.items())))


def id_prefix(prediction_id: str) -> int:
    """Return the first 32 bits of an id; ids are hashes, so that these are uniform."""
    return int(prediction_id[:8], 16)


def _prefixes(prediction_ids: pa.ChunkedArray) -> NDArray[np.uint32]:
    """Return id_prefix of each id."""
    digits = pc.utf8_slice_codeunits(prediction_ids, 0, 8)
    prefixes: NDArray[np.uint32] = pc.binary_join_element_wise("0x", digits, "").cast(pa.uint32()).to_numpy()
    return prefixes


def _write_index(path: Path, prefixes: Sequence[NDArray[np.uint32]]) -> None:
    """Write the sorted prefixes of the part's ids: a lookup finds a prefix with one small read."""
    path.with_name(index_name(path.name)).write_bytes(np.sort(np.concatenate(prefixes)).astype(PREFIX_DTYPE).tobytes())


def rows_per_hour(times: pa.ChunkedArray) -> dict[int, int]:
    """Return the number of rows per UTC hour of the day."""
    microseconds = times.cast(pa.int64()).to_numpy()
    counts = np.bincount(microseconds // _HOUR_MICROSECONDS % 24, minlength=24)
    return {hour: int(rows) for hour, rows in enumerate(counts) if rows}


def _write_group(writer: pq.ParquetWriter, tables: list[pa.Table], time_column: str) -> None:
    """Write tables as one row group; `tables` is empty afterwards."""
    whole = pa.concat_tables(tables)
    whole = whole.take(pc.sort_indices(whole, sort_keys=[(time_column, "ascending")]))
    tables.clear()  # frees the unsorted rows before the writer needs memory for the encoded ones
    writer.write_table(whole, row_group_size=whole.num_rows)


def _writer(path: Path, schema: pa.Schema, time_column: str) -> pq.ParquetWriter:
    names = set(schema.names)
    encodings = dict.fromkeys(_NUMBERS & names, "BYTE_STREAM_SPLIT") | {time_column: "DELTA_BINARY_PACKED"}
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=sorted(names - _UNIQUE - encodings.keys()),
        column_encoding=encodings,
        # A reader that looks for one id or one hour skips pages.
        write_page_index=True,
    )
