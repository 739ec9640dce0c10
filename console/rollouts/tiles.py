"""The measurements of a rollout: a tile each with its course over time, and the checks that have none. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import log

from markupsafe import Markup

from canary.judge.measurement import Measurement, confidence, interval_text
from console.charts import Moment, course_chart, meter
from console.rollouts.course import JudgedMoment
from console.rollouts.strip import places
from console.words import NOTHING, number

OUTCOMES = {"pass": "pass", "rollback": "roll back", "hold": "needs review", "unknown": "not enough data yet"}
TITLES = {
    "error_ratio": "Errors",
    "p95_ratio": "p95 of scoring",
    "error_go": "Errors, to advance",
    "p95_go": "p95, to advance",
    "block_ratio": "Blocked share",
    "flip_rate": "Disagreement on blocking",
    "score_psi": "Score shift",
    "false_positives": "False positives",
    "control": "Control",
    "fuse": "Fuse",
    "silence": "Silence",
    "freshness": "Freshness",
    "critical_alerts": "Critical alerts",
    "bake": "Bake time",
    "sample_ratio": "Sample ratio",
    "recall_ratio": "Recall ratio",
}
# Yes or no: a course would say nothing more.
CHECKS = ("control", "fuse", "silence", "freshness", "critical_alerts", "bake")
# Evidence that lets a step advance; any other evidence is for a rollback.
_GO = ("error_go", "p95_go")
MAX_TABLE_ROWS = 12


@dataclass(frozen=True, slots=True)
class CourseRow:
    at: datetime
    measurement: Measurement

    @property
    def interval(self) -> str:
        return interval_text(self.measurement) or NOTHING

    @property
    def outcome(self) -> str:
        return OUTCOMES[self.measurement.outcome]


@dataclass(frozen=True, slots=True)
class Tile:
    """One measurement: its latest result, its course as a chart, and the same as a table."""

    title: str
    measurement: Measurement
    word: str
    value: str
    limit: str
    interval: str
    chart: Markup
    evidence: Markup | None
    evidence_text: str
    rows: Sequence[CourseRow]


def tiles(course: Sequence[JudgedMoment]) -> list[Tile]:
    """Return a tile per measurement of the latest verdict that has a figure."""
    if not course:
        return []
    by_name = [{one.name: one for one in moment.measurements} for moment in course]
    return [
        _tile(latest, course, [named.get(latest.name) for named in by_name])
        for latest in course[-1].measurements
        if latest.name not in CHECKS
    ]


def checks(course: Sequence[JudgedMoment]) -> list[tuple[str, Measurement]]:
    """Return the checks of the latest verdict that have no course."""
    latest = course[-1].measurements if course else ()
    return [(TITLES[one.name], one) for one in latest if one.name in CHECKS]


def _tile(latest: Measurement, course: Sequence[JudgedMoment], measured: Sequence[Measurement | None]) -> Tile:
    at = places(course)
    values = [Moment(x, m.value, m.low, m.high) if m else Moment(x, None) for x, m in zip(at, measured, strict=True)]
    title = TITLES.get(latest.name, latest.name)
    changes = [x for x, (one, next_) in zip(at[1:], pairwise(course), strict=True) if one.phase != next_.phase]
    limit = figure(latest, latest.limit)
    interval = _interval(latest)
    alt = f"{title} over time, limit {limit}{', ' if interval else ''}{interval}"
    chart = course_chart(values, latest.limit, limit, alt, changes, _tested(latest))
    evidence, text = None, ""
    if latest.evidence is not None and latest.evidence_limit:
        needed = "to advance" if latest.name in _GO else "for a rollback"
        text = f"evidence {_brief(latest.evidence)} of {number(latest.evidence_limit)} {needed}"
        evidence = meter(
            _log_share(latest.evidence, latest.evidence_limit), text, "go" if latest.name in _GO else "stop"
        )
    known = [(moment.judged_at, m) for moment, m in zip(course, measured, strict=True) if m]
    stride = max(1, -(-len(known) // MAX_TABLE_ROWS))
    return Tile(
        title,
        latest,
        OUTCOMES[latest.outcome],
        figure(latest, latest.value),
        limit,
        interval,
        chart,
        evidence,
        text,
        [CourseRow(*one) for one in known[::-1][::stride]],
    )


def _interval(measurement: Measurement) -> str:
    """Return the confidence sequence and its probability in words; "" while it excludes nothing."""
    level = confidence(measurement)
    words = interval_text(measurement, lambda value: figure(measurement, value))
    return f"{words} with {100 * level:.4g} % confidence" if level and words else ""


def _tested(measurement: Measurement) -> tuple[float, ...]:
    """Return the values that the confidence sequence is compared with, other than the limit."""
    if measurement.name == "block_ratio" and measurement.limit:
        return (1.0 / measurement.limit,)
    return () if measurement.tested is None else (measurement.tested,)


def figure(measurement: Measurement, value: float | None) -> str:
    """Return a value in the unit of its measurement."""
    if value is None:
        return "–"
    if measurement.unit == "ratio":
        return f"{value:.2f} ×"
    if measurement.unit in ("share", "relative"):
        return f"{100 * value:.2f} %"
    if measurement.unit == "PSI":
        return f"{value:.3f}"
    return number(value)


def _brief(evidence: float) -> str:
    return f"{evidence:.3g}" if evidence < 1e6 else "over a million"


def _log_share(evidence: float, needed: float) -> float:
    """Return how far evidence has come: multiplied evidence is added on this scale. Below 1 it speaks against."""
    if evidence <= 1.0 or needed <= 1.0:
        return 0.0
    return min(1.0, log(evidence) / log(needed))
