"""The figures of the documents are those that were measured."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab.benchmarks import capacity, documents, tables
from lab.benchmarks.capacity import Measured
from lab.benchmarks.report import RESULTS, Goal, kept
from lab.benchmarks.scale.finding import Finding, growth, slope, transposed

MEASURED = Measured(
    cpu_us=100.0,
    worker_mib=200.0,
    shipped_per_second=30_000.0,
    heap_bytes=600.0,
    index_bytes=100.0,
    wal_bytes=900.0,
    copy_bytes=640.0,
)
ROWS = ({"products": 1, "RSS MiB": 100.0}, {"products": 50, "RSS MiB": 198.0})


def test_the_documents_show_the_stored_results() -> None:
    pages = (documents.README, documents.PERFORMANCE, documents.SCALE, documents.MONITORING, documents.JUDGING)
    before = {path: path.read_text() for path in pages}
    try:
        documents.write(kept(RESULTS))
        documents.write_judging(kept(documents.JUDGE_RESULTS))
        assert {path: path.read_text() for path in before} == before
    finally:
        for path, text in before.items():
            path.write_text(text)


def test_a_section_is_filled_again_and_the_text_around_it_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: x -->\nold\n<!-- /measured -->\nafter\n")
    for text in ("one", r"a \1 new one"):
        tables.fill(page, "x", text)
        assert page.read_text() == f"before\n<!-- measured: x -->\n{text}\n<!-- /measured -->\nafter\n"


def test_a_page_without_the_section_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- measured: other -->\n<!-- /measured -->\n")
    with pytest.raises(tables.MarkMissing, match=r"page\.md has no section for x"):
        tables.fill(page, "x", "text")


def test_numbers_have_three_significant_digits_and_whole_numbers_all() -> None:
    assert [tables.shown(value) for value in (20_000_000, 1234.5, 12.34, 1.234, "text")] == [
        "20,000,000", "1,234", "12.3", "1.23", "text",
    ]  # fmt: skip


def test_growth_is_relative_to_the_first_size() -> None:
    assert growth(ROWS, "products", "RSS MiB") == "At 50 times the products: RSS MiB 2 times."


def test_growth_from_nothing_is_not_a_number_of_times() -> None:
    rows = ({"n": 1, "ms": 0.0}, {"n": 2, "ms": 1.0})
    assert growth(rows, "n", "ms") == "At 2 times the n: ms ? times."


def test_a_slope_is_the_growth_per_unit() -> None:
    assert slope(ROWS, "products", "RSS MiB") == 2.0


def test_a_transposed_table_keeps_every_figure() -> None:
    assert transposed(ROWS, "products") == ({"": "RSS MiB", "1 products": 100.0, "50 products": 198.0},)


def test_a_finding_shows_which_goal_it_missed() -> None:
    goal = Goal("RSS, MiB", 300, 310.0, at_most=True)
    found = Finding("Memory", "One worker.", ROWS, ("More.",), (goal,))
    assert found.missed
    assert "- RSS, MiB: **310**, wanted <= 300: missed" in tables.finding(found)
    assert not replace(found, goals=(replace(goal, got=300.0),)).missed


def test_a_single_prediction_per_day_has_two_pods() -> None:
    assert _quantities(1.0)["pods"] == 2


def test_twice_the_predictions_need_twice_the_bytes_and_cores() -> None:
    one, two = _quantities(1e9), _quantities(2e9)
    for what in ("cores at the peak", "heap and indexes per day, GB", "write-ahead log per day, GB"):
        assert two[what] == 2 * one[what]


def test_a_billion_per_day_is_computed_from_the_bytes_of_a_row() -> None:
    found = _quantities(1e9)
    assert found["heap and indexes per day, GB"] == 700
    assert found["predictions/s, peak"] == pytest.approx(34_722, abs=1)
    assert found["pods"] == 3  # 34,722/s at 100 µs and 70 % are 4.96 cores


def _quantities(per_day: float) -> dict[str, float]:
    return {str(row["at a billion per day"]): float(row[""]) for row in capacity.needed(per_day, MEASURED)}
