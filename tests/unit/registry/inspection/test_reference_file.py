"""Reference files of each format are read alike, and every fault of one is named at once."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry.inspection.reference_file import ReferenceInvalid, ReferenceTable, read_reference_file

ROWS = 60


def frame(**columns: Any) -> pd.DataFrame:
    """Sixty rows with an amount, a country and a score; `columns` replace or add."""
    return pd.DataFrame(
        {
            "Amount (EUR)": [float(n) for n in range(ROWS)],
            "country": ["FR", "NA"] * (ROWS // 2),
            "score": [n / ROWS for n in range(ROWS)],
            **columns,
        }
    )


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_json(path, orient="records", lines=True)
    return path


def faults(path: Path, **options: Any) -> tuple[str, ...]:
    with pytest.raises(ReferenceInvalid) as refused:
        read_reference_file(path, **options)
    return refused.value.faults


@pytest.fixture(params=["rows.csv", "rows.parquet", "rows.jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_every_format_gives_the_same_table(path: Path) -> None:
    found = read_reference_file(write(frame(), path))
    assert list(found.columns) == ["Amount (EUR)", "country"]
    assert found.columns["Amount (EUR)"][:3] == [0.0, 1.0, 2.0]
    assert found.columns["country"][:2] == ["FR", "NA"]
    assert found.scores[30] == 0.5
    assert found.labels is None


def test_a_blank_is_a_missing_value(path: Path) -> None:
    amounts = [None, *(float(n) for n in range(1, ROWS))]
    assert read_reference_file(write(frame(**{"Amount (EUR)": amounts}), path)).columns["Amount (EUR)"][0] is None


def test_the_score_column_may_have_another_name(path: Path) -> None:
    table = frame(p=[0.25] * ROWS).drop(columns="score")
    assert read_reference_file(write(table, path), "p").scores == [0.25] * ROWS


@pytest.mark.parametrize(
    ("fraud", "legitimate"), [(1, 0), (1.0, 0.0), (True, False), ("fraud", "legitimate"), (1, -1), ("Yes", "no")]
)
def test_labels_of_every_usual_kind_are_read(path: Path, fraud: Any, legitimate: Any) -> None:
    table = frame(label=[fraud, legitimate] * (ROWS // 2))
    assert read_reference_file(write(table, path)).labels[:2] == [True, False]  # type: ignore[index]


def test_a_missing_label_is_unknown(path: Path) -> None:
    table = frame(label=[1.0, None] * (ROWS // 2))
    assert read_reference_file(write(table, path)).labels[:2] == [True, None]  # type: ignore[index]


def parquet(path: Path, **columns: pa.Array) -> ReferenceTable:
    pq.write_table(pa.table({"score": pa.array([0.5] * ROWS), **columns}), path)
    return read_reference_file(path)


def test_decimals_and_dictionaries_of_parquet_are_plain_values(tmp_path: Path) -> None:
    found = parquet(
        tmp_path / "r.parquet",
        amount=pa.array([Decimal("1.25")] * ROWS),
        country=pa.array(["FR"] * ROWS).dictionary_encode(),
        flag=pa.array([True] * ROWS),
    )
    assert [values[0] for values in found.columns.values()] == [1.25, "FR", True]


def test_times_and_nested_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReferenceInvalid) as refused:
        parquet(
            tmp_path / "r.parquet",
            at=pa.array([0] * ROWS, pa.timestamp("s")),
            tags=pa.array([["a"]] * ROWS),
        )
    assert [fault.split(" holds")[0] for fault in refused.value.faults] == ["column at", "column tags"]


@pytest.mark.parametrize("rows", [0, 49])
def test_too_few_rows_are_refused(path: Path, rows: int) -> None:
    if rows == 0 and path.suffix == ".jsonl":
        path.write_text("")
        assert "cannot be read" in faults(path)[0]
        return
    assert f"{rows} rows, not 50 to 100000" in faults(write(frame().head(rows), path))


def test_a_missing_score_column_says_how_to_name_it(path: Path) -> None:
    found = faults(write(frame().drop(columns="score"), path))
    assert found == ("no column score of expected scores: name it with --score-column",)


def test_wrong_cells_are_named_by_row_and_never_quoted(path: Path) -> None:
    scores = ["4111", *["x"] * 2, *["0.5"] * (ROWS - 3)]
    labels = ["maybe", *["fraud"] * (ROWS - 1)]
    found = faults(write(frame(score=scores, label=labels), path))
    assert found[1] == "column label: row 0 is neither fraud (1) nor legitimate (0)"
    assert found[0].startswith("column score: rows 0, 1, 2")
    assert "4111" not in " ".join(found)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.xlsx"
    file.write_bytes(b"PK")
    assert faults(file) == ("a reference file ends in .csv, .jsonl or .parquet, not in .xlsx",)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PAR1 nothing {")
    assert "cannot be read as" in faults(tmp_path / name)[0]


def test_json_lines_may_leave_a_field_out(tmp_path: Path) -> None:
    lines = [{"a": 1.0, "score": 0.5} if n else {"score": 0.5} for n in range(ROWS)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert read_reference_file(file).columns["a"][:2] == [None, 1.0]
