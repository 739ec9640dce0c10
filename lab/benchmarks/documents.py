"""Writes the stored results into the marked sections of the documents."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from lab.benchmarks import capacity, latency, report, tables
from lab.benchmarks.backtests import measure as backtests
from lab.benchmarks.canary.figures import Figure
from lab.benchmarks.canary.figures import rows as figure_rows
from lab.benchmarks.latency import LatencyRun
from lab.benchmarks.monitoring.cases import CASES
from lab.benchmarks.monitoring.outcome import Measured
from lab.benchmarks.monitoring.outcome import rows as case_rows
from lab.benchmarks.profile.batch import BatchProfile
from lab.benchmarks.profile.request import Profile
from lab.benchmarks.reasons import ReasonsFigure, rows
from lab.benchmarks.scale import catalogue
from lab.benchmarks.scale.finding import Finding
from lab.benchmarks.side_by_side import Outcome

ROOT = Path(__file__).parents[2]
PERFORMANCE, SCALE, README = ROOT / "docs/performance.md", ROOT / "docs/scale.md", ROOT / "README.md"
MONITORING, JUDGING = ROOT / "docs/monitoring.md", ROOT / "docs/judging.md"
JUDGE_RESULTS = Path(__file__).parent / "canary/results.json"
BILLION = 1e9
CASE_NAMES = tuple(case.name for case in CASES)

Results = Mapping[str, Any]


def store(section: str, content: Mapping[str, object]) -> None:
    """Replace one section of the stored results and write the documents again."""
    report.merge(report.RESULTS, section, content)
    write(report.kept(report.RESULTS))


def write(results: Results) -> None:
    """Fill every section whose figures are stored. Raises MarkMissing if a document lacks the marks of a section."""
    sections: list[tuple[Path, str, Callable[[Results], str]]] = [
        (README, "side_by_side", _table),
        (PERFORMANCE, "side_by_side", _side_by_side),
        (PERFORMANCE, "latency", _latency),
        (PERFORMANCE, "profile", _profile),
        (PERFORMANCE, "batch_profile", _batch_profile),
        (PERFORMANCE, "reasons", _reasons),
        (PERFORMANCE, "backtest", partial(_findings, backtests.NAMES)),
        (PERFORMANCE, "scale", partial(_findings, tuple(catalogue.MEASUREMENTS))),
        (MONITORING, "guard", _guard),
        (MONITORING, "monitoring", _monitoring),
    ]
    for path, name, text in sections:
        if name in results:
            tables.fill(path, name, text(results[name]))
    if "profile" in results and results.get("scale", {}).keys() >= capacity.NEEDED:
        tables.fill(SCALE, "capacity", tables.table(capacity.needed(BILLION, capacity.measured(results))))
    if results.get("backtest", {}).keys() >= capacity.ARCHIVE_NEEDED:
        archived = capacity.archived(results["backtest"])
        tables.fill(SCALE, "archive", tables.table(capacity.archive_needed(BILLION, archived)))


def write_judging(results: Results) -> None:
    """Fill the sections of docs/judging.md from the stored results of `make bench-canary`. Raises MarkMissing."""
    source = f"*{results['date']}; `{results['command']}`*"
    figures = figure_rows(msgspec.convert(results["figures"], list[Figure]))
    tables.fill(JUDGING, "canary", f"{tables.table(figures)}\n{source}")
    usual = [
        {
            "the usual methods, on the same traffic": one["method"],
            "healthy canaries rolled back": f"{one['false_rollbacks']:.1%}",
            "seconds to twice the errors, median": "never" if one["seconds"] is None else f"{one['seconds']:,.0f}",
        }
        for one in results["baselines"]
    ]
    tables.fill(JUDGING, "canary_baselines", tables.table(usual))


def _table(section: Results) -> str:
    return report.markdown(msgspec.convert(section["contenders"], list[Outcome]))


def _side_by_side(section: Results) -> str:
    outcomes = msgspec.convert(section["contenders"], list[Outcome])
    remarks = "".join(f"- {remark}\n" for remark in report.remarks(outcomes))
    return "\n".join((report.markdown(outcomes), tables.goals(report.goals(outcomes)), remarks, _source(section)))


def _latency(section: Results) -> str:
    return f"```\n{latency.lines(msgspec.convert(section, LatencyRun))}\n```\n\n{_source(section)}"


def _profile(section: Results) -> str:
    return f"{tables.profile(msgspec.convert(section, Profile))}\n{_source(section)}"


def _batch_profile(section: Results) -> str:
    return f"{tables.profile(msgspec.convert(section, BatchProfile))}\n{_source(section)}"


def _reasons(section: Results) -> str:
    found = msgspec.convert(section["figures"], list[ReasonsFigure])
    return f"{tables.table(rows(found))}\n*Medians of {section['rounds']} rounds.* {_source(section)}"


def _findings(names: Sequence[str], section: Results) -> str:
    parts = []
    for name in names:
        if name in section:
            parts.append(f"{tables.finding(msgspec.convert(section[name], Finding))}\n{_source(section[name])}")
    return "\n\n".join(parts)


def _guard(section: Results) -> str:
    found = msgspec.convert(section["figures"], list[Figure])
    return f"{tables.table(figure_rows(found))}\n{_source(section)}"


def _monitoring(section: Results) -> str:
    kept = [section[name] for name in CASE_NAMES if name in section]
    return f"{tables.table(case_rows(msgspec.convert(kept, list[Measured])))}\n{_source(kept[-1])}"


def _source(section: Results) -> str:
    return f"*{section['on']}; {section['date']}; `{section['command']}`*"
