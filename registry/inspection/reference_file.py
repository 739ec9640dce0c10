"""Read reference rows: payload fields with the scores that the training library gave them.

CSV, JSON lines or Parquet; one column per field, one of scores, and optionally one named `label`. Reading needs
pyarrow, which only the inspection process imports.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry import RegistryError, printable
from registry.signature import MAX_FIELDS

MIN_ROWS = 50
MAX_ROWS = 100_000
MAX_FILE_BYTES = 256 << 20
DEFAULT_SCORE_COLUMN = "score"
LABEL_COLUMN = "label"
# What training data calls fraud, beside numbers.
_FRAUD = frozenset({"1", "1.0", "true", "fraud", "yes"})
_LEGITIMATE = frozenset({"0", "0.0", "-1", "-1.0", "false", "legitimate", "no"})

Cell = bool | int | float | str | None


class ReferenceInvalid(RegistryError):
    """Every fault of a reference file at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(printable(fault) for fault in faults)
        super().__init__("reference rows: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """The file's columns by their own headers; `scores` as the trainer gave them; `labels` true for fraud."""

    columns: dict[str, list[Cell]]
    scores: list[float]
    labels: list[bool | None] | None

    @property
    def rows(self) -> int:
        return len(self.scores)


def read_reference_file(
    path: Path, score_column: str = DEFAULT_SCORE_COLUMN, is_text: Callable[[str], bool] = lambda name: False
) -> ReferenceTable:
    """Read a file by its suffix: .csv, .jsonl (or .ndjson), .parquet. Raises ReferenceInvalid.

    A CSV column whose name `is_text` is read as text: a code of digits keeps its leading zeros.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ReferenceInvalid([f"{size} bytes, over the limit of {MAX_FILE_BYTES}"])
    table = _table(path, is_text)
    faults = []
    if not MIN_ROWS <= table.num_rows <= MAX_ROWS:
        faults.append(f"{table.num_rows} rows, not {MIN_ROWS} to {MAX_ROWS}")
    if table.num_columns > MAX_FIELDS + 2:
        faults.append(f"{table.num_columns} columns, not at most {MAX_FIELDS + 2}")
    if twice := sorted({name for name in table.column_names if table.column_names.count(name) > 1}):
        faults.append(f"columns named twice: {', '.join(twice)}")
    if score_column not in table.column_names:
        faults.append(f"no column {score_column} of expected scores: name it with --score-column")
    if faults:
        raise ReferenceInvalid(faults)
    cells = {name: _cells(name, table.column(name), faults) for name in table.column_names}
    scores = _scores(score_column, cells.pop(score_column), faults)
    labels = _labels(cells.pop(LABEL_COLUMN), faults) if LABEL_COLUMN in cells else None
    if not cells:
        faults.append("no column of a field")
    if faults:
        raise ReferenceInvalid(faults)
    return ReferenceTable(cells, scores, labels)


def _table(path: Path, is_text: Callable[[str], bool]) -> Any:
    import pyarrow

    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            import pyarrow.parquet

            return pyarrow.parquet.ParquetFile(path, pre_buffer=False).read(use_threads=False)
        if suffix == ".csv":
            import pyarrow.csv

            # A blank is a missing value; texts such as NA are not guessed at, they may be country codes.
            with path.open(newline="", encoding="utf-8-sig") as file:
                header = next(csv.reader(file), [])
            texts = {name: pyarrow.string() for name in header if is_text(name)}
            convert = pyarrow.csv.ConvertOptions(null_values=[""], strings_can_be_null=True, column_types=texts)
            return pyarrow.csv.read_csv(path, pyarrow.csv.ReadOptions(use_threads=False), convert_options=convert)
        if suffix in (".jsonl", ".ndjson"):
            import pyarrow.json

            return pyarrow.json.read_json(path, pyarrow.json.ReadOptions(use_threads=False))
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ReferenceInvalid([f"the file cannot be read as {suffix[1:]}: {type(error).__name__}"]) from None
    raise ReferenceInvalid([f"a reference file ends in .csv, .jsonl or .parquet, not in {suffix or 'nothing'}"])


def _cells(name: str, column: Any, faults: list[str]) -> list[Cell]:
    """A column as plain values, null where it is blank; NaN counts as blank."""
    import pyarrow

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    if pyarrow.types.is_decimal(kind):
        column = column.cast(pyarrow.float64())
    elif pyarrow.types.is_temporal(kind):
        faults.append(f"column {name} holds times: give the number or text that the model was trained on")
        return []
    elif pyarrow.types.is_nested(kind) or pyarrow.types.is_binary(kind):
        faults.append(f"column {name} holds {kind}: give numbers, texts or truth values")
        return []
    return [None if isinstance(value, float) and math.isnan(value) else value for value in column.to_pylist()]


def _scores(name: str, cells: list[Cell], faults: list[str]) -> list[float]:
    wrong = [
        row
        for row, value in enumerate(cells)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
    ]
    if wrong:
        faults.append(f"column {name}: {_rows(wrong)} not a finite number")
        return []
    return [float(value) for value in cells]  # type: ignore[arg-type]


def _labels(cells: list[Cell], faults: list[str]) -> list[bool | None]:
    found: list[bool | None] = []
    wrong = []
    for row, value in enumerate(cells):
        text = str(value).strip().lower()
        if value is None or text in _FRAUD | _LEGITIMATE:
            found.append(None if value is None else text in _FRAUD)
        else:
            wrong.append(row)
    if wrong:
        faults.append(f"column {LABEL_COLUMN}: {_rows(wrong)} neither fraud (1) nor legitimate (0)")
    return found


def _rows(places: Sequence[int]) -> str:
    shown = ", ".join(str(place) for place in places[:5])
    if len(places) == 1:
        return f"row {shown} is"
    return f"rows {shown}{', ...' if len(places) > 5 else ''} ({len(places)} in all) are"
