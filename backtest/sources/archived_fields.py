"""The payload fields that archived events have, and the refusal of others before anything is replayed."""

from collections.abc import Iterator, Sequence
from datetime import date

import pyarrow.parquet as pq

from archive.parts.bucket import ArchiveBucket
from archive.parts.payload_fields import PREFIX
from backtest.request import BacktestToRun
from backtest.sources.known_fields import fields_in_postgres, refuse_unknown
from backtest.sources.parts import ArchivedPart, LogPart
from backtest.unknown_fields import asked_fields
from registry.artifacts import open_backend
from runtime.postgres import Connection


def check_fields(
    connection: Connection, request: BacktestToRun, product: str, since: date, until: date, parts: Sequence[LogPart]
) -> None:
    """Raise InputInvalid, naming every field of the request that no signature, archived day or recent event has."""
    if not (asked := asked_fields(request)):
        return
    known = fields_in_postgres(connection, product, since, until)
    for fields in _archived_fields(parts):
        if known.issuperset(asked.values()):
            return
        known |= fields
    refuse_unknown(asked, known, product)


def _archived_fields(parts: Sequence[LogPart]) -> Iterator[set[str]]:
    """Yield the payload fields of each archived day, the newest first; the parts of a day have the same ones."""
    by_day = {part.folder.day: part for part in parts if isinstance(part, ArchivedPart)}
    for _, part in sorted(by_day.items(), reverse=True):
        with ArchiveBucket(open_backend(part.model_bucket)).opened(part.folder, part.part) as raw:
            names = pq.read_schema(raw).names
        yield {name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)}
