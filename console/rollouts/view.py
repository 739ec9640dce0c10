"""A rollout as its page shows it: steps with bake clocks, tiles, and what it waits for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import log

from markupsafe import Markup

from canary.judge.measurement import Measurement, confidence, interval_text
from canary.plan import Step
from canary.rollout.store import StoredRollout
from console.charts import Moment, course_chart, meter, verdict_strip
from console.rollouts.store import JudgedMoment
from console.words import NOTHING, duration, number

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
class PlannedStep:
    """A step of the plan. `state`: done, current, or next; `baked` of `bake` seconds have passed."""

    number: int
    percent: float
    bake: float
    baked: float
    gate: str
    state: str
    meter: Markup

    @property
    def clock(self) -> str:
        if self.state == "current" and self.baked < self.bake:
            return f"{duration(self.bake - self.baked)} of {duration(self.bake)} left"
        return duration(self.bake) if self.bake else "no bake time"


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


def steps(rollout: StoredRollout, now: datetime) -> list[PlannedStep]:
    return [_step(rollout, place, step, now) for place, step in enumerate(rollout.plan.steps)]


def _step(rollout: StoredRollout, place: int, step: Step, now: datetime) -> PlannedStep:
    until = rollout.ended_at or now
    if rollout.status == "promoted" or place < rollout.step:
        state, baked = "done", float(step.bake_seconds)
    elif place == rollout.step:
        state = "current" if rollout.live else "reached"
        baked = min(float(step.bake_seconds), max(0.0, (until - rollout.step_started_at).total_seconds()))
    else:
        state, baked = "next", 0.0
    share = baked / step.bake_seconds if step.bake_seconds else float(state in ("done", "current"))
    title = f"{duration(baked)} of {duration(step.bake_seconds)} baked"
    return PlannedStep(place + 1, step.percent, step.bake_seconds, baked, step.gate, state, meter(share, title, state))


def waits_for(rollout: StoredRollout, moment: JudgedMoment | None, now: datetime) -> str:
    """Return what a rollout waits for, in one sentence."""
    if not rollout.live:
        ending = {"promoted": "is production now", "rolled_back": "was rolled back", "stopped": "was stopped"}
        return f"This rollout has ended: the canary {ending[rollout.status]}."
    if rollout.status == "paused":
        return "An operator has paused it: it keeps its share, and waits to be resumed. A rollback would still act."
    if moment is None:
        return "It has not been judged yet: the controller judges every few seconds."
    if moment.verdict == "hold":
        return f"It is on hold: {'; '.join(moment.reasons)}."
    if moment.verdict == "rollback":
        return f"It is being rolled back: {'; '.join(moment.reasons)}."
    if moment.verdict == "continue" and not _only_bakes(moment):
        return f"It waits for more evidence: {'; '.join(moment.reasons)}."
    position = rollout.position()
    left = position.current_step.bake_seconds - (now - rollout.step_started_at).total_seconds()
    if left > 0:
        return f"Every measurement passes; the step must last another {duration(left)}."
    if position.current_step.gate == "manual":
        return "Every measurement passes; the step's gate is manual, so it waits for an operator."
    return "Every measurement passes: it advances with the next verdict."


def _only_bakes(moment: JudgedMoment) -> bool:
    """Return whether the bake time is all that is missing."""
    missing = [one.name for one in moment.measurements if one.outcome == "unknown" and one.required]
    return missing == ["bake"]


def tiles(course: Sequence[JudgedMoment]) -> list[Tile]:
    """Return a tile per measurement of the latest verdict that has a figure."""
    if not course:
        return []
    return [_tile(latest, course) for latest in course[-1].measurements if latest.name not in CHECKS]


def checks(course: Sequence[JudgedMoment]) -> list[tuple[str, Measurement]]:
    """Return the checks of the latest verdict that have no course."""
    latest = course[-1].measurements if course else ()
    return [(TITLES[one.name], one) for one in latest if one.name in CHECKS]


def strip(course: Sequence[JudgedMoment]) -> Markup:
    """Draw the verdicts over time."""
    times = _places(course)
    return verdict_strip([(x, moment.verdict) for x, moment in zip(times, course, strict=True)])


def runs(course: Sequence[JudgedMoment]) -> list[tuple[JudgedMoment, JudgedMoment]]:
    """Return the first and last moment of each run of the same verdict and action, newest first."""
    found: list[tuple[JudgedMoment, JudgedMoment]] = []
    for moment in course:
        same = found and (found[-1][1].verdict, found[-1][1].action, found[-1][1].phase) == (
            moment.verdict,
            moment.action,
            moment.phase,
        )
        if same:
            found[-1] = (found[-1][0], moment)
        else:
            found.append((moment, moment))
    return found[::-1]


def _tile(latest: Measurement, course: Sequence[JudgedMoment]) -> Tile:
    by_moment = [next((m for m in moment.measurements if m.name == latest.name), None) for moment in course]
    places = _places(course)
    values = [
        Moment(x, m.value, m.low, m.high) if m else Moment(x, None) for x, m in zip(places, by_moment, strict=True)
    ]
    title = TITLES.get(latest.name, latest.name)
    pairs = zip(places[1:], course, course[1:], strict=False)
    changes = [place for place, before, after in pairs if before.phase != after.phase]
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
    rows = [CourseRow(moment.judged_at, m) for moment, m in zip(course, by_moment, strict=True) if m]
    stride = max(1, -(-len(rows) // MAX_TABLE_ROWS))
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
        rows[::-1][::stride],
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


def _places(course: Sequence[JudgedMoment]) -> list[float]:
    """Return where each moment is between the first (0) and the last (1)."""
    if not course:
        return []
    first, last = course[0].judged_at, course[-1].judged_at
    span = (last - first).total_seconds()
    return [((moment.judged_at - first).total_seconds() / span if span else 1.0) for moment in course]
