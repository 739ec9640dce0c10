"""The report as one HTML file that opens offline."""

from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2

from canary.judge.evidence import FIRST_EDGE_SECONDS
from canary.judge.measurement import confidence, interval_text
from canary.report.charts import histogram, line_chart
from canary.report.course import ARMS
from canary.report.report import Report

# Words for the outcome of a measurement.
_WORDS = {"pass": "pass", "rollback": "roll back", "hold": "needs review", "unknown": "not enough data yet"}


def render(report: Report) -> str:
    page = _environment().get_template("report.html.j2")
    return page.render(report=report, charts=_charts(report), arms=ARMS, words=_WORDS, totals=_totals(report))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": _share, "milliseconds": _milliseconds, "number": _number, "time": _time}
    environment.filters |= {"interval": interval_text, "confidence": confidence}
    return environment


def _charts(report: Report) -> dict[str, str]:
    course = report.course
    ends = (_time(course.times[0]), _time(course.times[-1])) if course.times else ("", "")
    errors = {arm: [None if y is None else 100 * y for y in course.errors[arm]] for arm in ARMS}
    p95 = {arm: [None if y is None else 1e3 * y for y in course.p95[arm]] for arm in ARMS}
    scores = {arm: _percent(report.scores.counts[arm]) for arm in ARMS}
    return {
        "errors": line_chart(errors, ends, " %", title="Error rate over time, by arm"),
        "p95": line_chart(p95, ends, " ms", title="p95 of model scoring over time, by arm"),
        "scores": histogram(scores, ("score 0", "score 1"), " %", title="Distribution of scores, by arm"),
    }


def _percent(counts: tuple[int, ...]) -> list[float | None]:
    total = sum(counts)
    return [100 * count / total if total else None for count in counts]


def _totals(report: Report) -> dict[str, dict[str, int]]:
    """Return the counts of each arm over all phases."""
    names = ("requests", "errors", "timeouts", "allowed", "reviewed", "blocked")
    return {
        arm: {name: sum(getattr(total, name) for total in report.totals if total.arm == arm) for name in names}
        for arm in ARMS
    }


def _share(part: float | None, whole: float = 1) -> str:
    return "–" if part is None or not whole else f"{part / whole:.3%}"


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return "≤ 1 ms" if seconds <= FIRST_EDGE_SECONDS else f"{seconds * 1e3:.1f} ms"


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _time(at: datetime | None) -> str:
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M:%S")
