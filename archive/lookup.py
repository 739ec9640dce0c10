"""Find one archived prediction by its id, without reading whole parts."""

import hashlib
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder, Part
from archive.parts.part_file import PREFIX_DTYPE, id_prefix
from archive.parts.payload_fields import PREFIX
from archive.postgres import store
from runtime.postgres import Connection

# Requests to the store at once; each waits for the network.
THREADS = 16
# Entries read around the place where a prefix is expected: prefixes are uniform, so that the place is off by the square
# root of the rows at most a few times over.
_MARGIN_ROOTS = 8


class ArchivedPrediction(msgspec.Struct, frozen=True):
    """The columns of a logged prediction."""

    columns: dict[str, Any]

    def text(self) -> bytes:
        """Return the prediction as JSON; its payload is the canonical text, byte for byte."""
        return msgspec.json.encode({**self.columns, "payload": msgspec.Raw(self.columns["payload"].encode())})


def find_archived(
    connection: Connection, bucket: ArchiveBucket, prediction_id: str, day: date | None = None
) -> ArchivedPrediction | None:
    """Return a prediction of a day, or of any archived day, the newest first; None for text that is not a UUID."""
    try:
        identity = str(UUID(prediction_id))
    except ValueError:
        return None
    days = store.recorded_days(connection, kind="log", since=day, until=day)
    folders = [Folder("log", found.product, found.day) for found in reversed(days)]

    def candidates(folder: Folder) -> list[tuple[Folder, Part]]:
        parts = bucket.manifest(folder).parts
        return [(folder, part) for part in parts if _may_have(bucket, folder, part, identity)]

    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(folders), 4 * THREADS):
            for found in pool.map(candidates, folders[first : first + 4 * THREADS]):
                for folder, part in found:
                    if prediction := _read(bucket, folder, part, identity):
                        return prediction
    return None


def _may_have(bucket: ArchiveBucket, folder: Folder, part: Part, identity: str) -> bool:
    """Look the id's prefix up in the part's index, with one small read."""
    prefix, width = id_prefix(identity), PREFIX_DTYPE.itemsize
    expected = prefix * part.rows >> 8 * width
    margin = int(_MARGIN_ROOTS * part.rows**0.5) + 1
    low, high = max(0, expected - margin), min(part.rows, expected + margin)
    while True:
        text = bucket.read_index(folder, part, low * width, (high - low) * width)
        entries = np.frombuffer(text, PREFIX_DTYPE)
        # Read everything if the prefixes are not as even as expected.
        if len(entries) and ((entries[0] < prefix or low == 0) and (entries[-1] > prefix or high == part.rows)):
            place = bisect_left(entries, prefix)
            return place < len(entries) and bool(entries[place] == prefix)
        if (low, high) == (0, part.rows):
            return False
        low, high = 0, part.rows


def _read(bucket: ArchiveBucket, folder: Folder, part: Part, identity: str) -> ArchivedPrediction | None:
    with bucket.opened(folder, part) as raw, pq.ParquetFile(raw, pre_buffer=False) as file:
        names = [name for name in file.schema_arrow.names if not name.startswith(PREFIX)]
        # Without threads: one of Arrow's that still holds the file, a Python object, when the process ends aborts it.
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["prediction_id"], use_threads=False)["prediction_id"]
            place = pc.index(ids, pa.scalar(identity)).as_py()
            if place >= 0:
                return _prediction(
                    folder, file.read_row_group(group, columns=names, use_threads=False).slice(place, 1).to_pylist()[0]
                )
    return None


def _prediction(folder: Folder, row: dict[str, Any]) -> ArchivedPrediction:
    """Put back what the archive leaves out because it follows from other columns."""
    row["product"] = folder.product
    row["routing_key"] = row["event_id"] if row["routing_key"] is None else row["routing_key"]
    row["payload_sha256"] = row["payload_sha256"] or hashlib.sha256(row["payload"].encode()).hexdigest()
    assert isinstance(row["created_at"], datetime)
    return ArchivedPrediction(row)
