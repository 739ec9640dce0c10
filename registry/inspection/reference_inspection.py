"""Check a model under inspection against the reference rows of its trainer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from registry.feed import PayloadInvalid, Row
from registry.inspection.metadata import ModelMetadata
from registry.inspection.parent import KeptReference, ReferenceRequest
from registry.inspection.reference_check import Differences, compare
from registry.inspection.reference_file import (
    Cell,
    ReferenceInvalid,
    ReferenceTable,
    read_reference_file,
)
from registry.model_session import ModelSession
from registry.probability import ScoreArray
from registry.reference import ReferenceRow, ReferenceRows
from registry.signature import FLOATING, Field, ModelInputs, Signature, Value

_BATCH_ROWS = 1_024


class ReferenceDiffers(Exception):
    def __init__(self, differences: Differences) -> None:
        self.differences = differences
        super().__init__(str(differences))


def read_table(request: ReferenceRequest, inputs: ModelInputs) -> ReferenceTable:
    """The file's table; a CSV column that feeds a string field is read as text. Raises ReferenceInvalid."""
    texts = {bare_name(name) for f in inputs.fields if f.kind == "string" for name in (f.name, inputs.input_of(f))}
    return read_reference_file(Path(request.path), request.score_column, lambda name: bare_name(name) in texts)


def declared_by(table: ReferenceTable, inputs: ModelInputs) -> ModelMetadata:
    """Facts about the model that its rows show: original headers of renamed inputs, and fields that may be blank.

    A header renames a field when it is the only one that differs from the field's name in nothing but case, spaces and
    signs.
    """
    names = {field.name for field in inputs.fields}
    free: dict[str, list[str]] = {}
    for header in table.columns.keys() - names:
        free.setdefault(bare_name(header), []).append(header)
    unmatched = [field for field in inputs.fields if field.name not in table.columns]
    rename = {}
    for field in unmatched:
        same = [other for other in unmatched if bare_name(other.name) == bare_name(field.name)]
        headers = free.get(bare_name(field.name), [])
        if len(headers) == 1 and len(same) == 1:
            rename[headers[0]] = field.name
    original = {name: header for header, name in rename.items()}
    nullable = tuple(
        header
        for field in inputs.fields
        if (header := original.get(field.name, field.name)) in table.columns
        and (field.kind in FLOATING | {"string"} or field.default is not None)
        and any(cell is None for cell in table.columns[header])
    )
    return ModelMetadata(rename=rename, nullable=nullable)


def check_rows(table: ReferenceTable, signature: Signature, session: ModelSession, tolerance: float) -> KeptReference:
    """Score every row as it would be served; raises ReferenceInvalid, and ReferenceDiffers beyond the tolerance."""
    payloads = _payloads(table, signature)
    rows = _rows(payloads, session)
    compared = compare(signature, rows, table.scores, tolerance, lambda changed: _scores(session, changed))
    if compared.differences:
        raise ReferenceDiffers(compared.differences)
    labels = table.labels or [None] * table.rows
    kept = ReferenceRows(
        tuple(
            ReferenceRow(payload, score, label)
            for payload, score, label in zip(payloads, table.scores, labels, strict=True)
        )
    ).sample()
    content = kept.to_bytes()
    return KeptReference(
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        rows=table.rows,
        kept=len(kept.rows),
        labelled=sum(row.label is not None for row in kept.rows),
        tolerance=tolerance,
        max_difference=compared.max_difference,
    )


def bare_name(name: str) -> str:
    """A name without case, spaces and signs: converters write `Amount (EUR)` as `Amount__EUR_`."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _payloads(table: ReferenceTable, signature: Signature) -> list[dict[str, Value | None]]:
    """Return the payload that a caller would send for each row; raises ReferenceInvalid when a field has no column."""
    missing = sorted(f.name for f in signature.fields if f.required and f.name not in table.columns)
    if missing:
        unused = sorted(table.columns.keys() - {field.name for field in signature.fields})
        beside = f"; columns that no field is named after: {', '.join(unused[:20])}" if unused else ""
        raise ReferenceInvalid([f"no column for the fields {', '.join(missing[:20])}{beside}"])
    given = [field for field in signature.fields if field.name in table.columns]
    columns = {field.name: [_as_sent(field, cell) for cell in table.columns[field.name]] for field in given}
    nullable = {field.name for field in signature.fields if field.nullable}
    return [
        {name: cells[place] for name, cells in columns.items() if cells[place] is not None or name in nullable}
        for place in range(table.rows)
    ]


def _as_sent(field: Field, cell: Cell) -> Cell:
    """A cell as the field's own type, where files keep no such type: whole numbers beside blanks become floats."""
    if field.kind in ("int32", "int64") and isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if field.kind == "bool" and cell in (0, 1) and not isinstance(cell, str):
        return bool(cell)
    if field.kind == "string" and isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell)
    if field.kind in FLOATING and isinstance(cell, bool):
        return float(cell)
    return cell


def _rows(payloads: Sequence[dict[str, Value | None]], session: ModelSession) -> list[Row]:
    """Raises ReferenceInvalid with every column that holds what its field cannot take."""
    rows = []
    wrong: dict[tuple[str, str], list[int]] = {}
    for place, payload in enumerate(payloads):
        try:
            rows.append(session.feed.row(payload))
        except PayloadInvalid as invalid:
            for violation in invalid.violations:
                wrong.setdefault((violation.pointer.lstrip("/"), violation.detail), []).append(place)
    if wrong:
        raise ReferenceInvalid(
            [
                f"column {name} {detail} ({len(places)} rows, the first is {places[0]})"
                for (name, detail), places in sorted(wrong.items())
            ]
        )
    return rows


def _scores(session: ModelSession, rows: Sequence[Row]) -> ScoreArray:
    """Scores in batches; a row that the model raises on has none."""
    parts = []
    for first in range(0, len(rows), _BATCH_ROWS):
        part = rows[first : first + _BATCH_ROWS]
        try:
            parts.append(session.score(part))
        except Exception:
            parts.append(np.array([_score_alone(session, row) for row in part]))
    return np.concatenate(parts)


def _score_alone(session: ModelSession, row: Row) -> float:
    try:
        return float(session.score([row])[0])
    except Exception:
        return float("nan")
