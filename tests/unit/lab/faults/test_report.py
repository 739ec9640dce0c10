"""The table of faults: outcomes of several runs side by side, and none looks better than it was."""

from dataclasses import replace
from pathlib import Path

from lab.faults import report
from lab.faults.__main__ import NAMES
from lab.faults.reconciliation import Reconciliation
from lab.faults.scenario import Outcome

CUT = Outcome("database-cut", "Postgres cut off", "10 min", sent=3_000, reconciliation=Reconciliation(answered=3_000))
FULL = Outcome("database-full", "Postgres' disk full", unavailable="a small disk needs root")
PAGE = "before\n<!-- table: make faults -->\nold\n<!-- end of table -->\nafter\n"


def test_an_outcome_takes_the_place_of_the_one_before_and_others_stay(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    again = replace(CUT, extent="20 s", notes=("7 rows waited",))
    report.keep([CUT], results)
    report.keep([FULL], results)
    report.keep([again], results)
    assert report.kept(results) == {"database-cut": again, "database-full": FULL}


def test_the_page_is_written_in_the_suite_s_order_and_the_text_around_stays(tmp_path: Path) -> None:
    page, results = tmp_path / "faults.md", tmp_path / "results.json"
    page.write_text(PAGE)
    report.keep([FULL, CUT], results)
    for _ in range(2):
        report.write_docs(["database-cut", "database-full", "never-run"], page, results)
    assert page.read_text() == (
        "before\n<!-- table: make faults -->\n\n" + report.markdown([CUT, FULL]) + "\n<!-- end of table -->\nafter\n"
    )


def test_a_row_shows_how_long_what_was_not_met_and_what_was_not_run() -> None:
    found = Reconciliation(answered=2_999, lost=1)
    lost = replace(CUT, reconciliation=found, unmet=("scoring continues",), notes=("slow",))
    rows = report.markdown([lost, FULL]).splitlines()[2:]
    assert rows == [
        "| Postgres cut off | 10 min | 3,000 | 2,999 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | NOT MET: scoring continues; slow |",
        "| Postgres' disk full |  | – | – | – | – | – | – | – | – | – | not run: a small disk needs root |",
    ]


def test_the_document_says_what_the_kept_outcomes_say() -> None:
    kept = report.kept()
    assert report.markdown([kept[name] for name in NAMES if name in kept]) in report.DOCS.read_text()
