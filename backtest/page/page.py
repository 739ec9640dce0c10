"""The report of a backtest as one HTML file that opens offline."""

from collections.abc import Sequence
from math import log10
from pathlib import Path
from typing import Any

import jinja2

import canary.report
from backtest.figures.description import BacktestReport, SweepPoint
from backtest.tally.layout import AFTER
from canary.intervals import Estimate
from canary.report.charts import curve_chart, histogram
from scoring.decision import DECISIONS

# What is drawn has the colours of the canary report: the log those of production, the replay those of a canary.
LOGGED, REPLAYED = "production", "canary"
_LEAST_SHARE = 1e-4


def render_backtest(report: BacktestReport) -> str:
    """Return one page that opens offline."""
    return _render("backtest.html.j2", report)


def render_figures(report: BacktestReport) -> str:
    """Return the body of that page, for a page with a style of its own."""
    return _render("report.html.j2", report)


def _render(template: str, report: BacktestReport) -> str:
    page = _environment().get_template(template)
    counts = {(one.before, one.after): one for one in report.decisions}
    return page.render(
        report=report,
        counts=counts,
        before=DECISIONS,
        after=AFTER,
        charts=_charts(report),
        listed=_listed(report),
        fields=list(dict.fromkeys(segment.field for segment in report.segments)),
    )


def _environment() -> jinja2.Environment:
    folders = [Path(__file__).parent, *(Path(folder) for folder in canary.report.__path__)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "share": _share}
    environment.filters |= {"share_interval": _share_interval, "amount_interval": _amount_interval}
    return environment


def _charts(report: BacktestReport) -> dict[str, str]:
    sides = {LOGGED: report.sweep_before, REPLAYED: report.sweep}
    scores = {LOGGED: _percent(report.scores.before), REPLAYED: _percent(report.scores.after)}
    calibrated = [one for one in report.calibration if one.fraud.value is not None]
    return {
        "recall": curve_chart(
            {name: _curve(points, "recall") for name, points in sides.items()},
            ("0.01 % of events blocked", "100 %"),
            " %",
            title="Recall by the share of events that is blocked",
        ),
        "precision": curve_chart(
            {name: _curve(points, "precision") for name, points in sides.items()},
            ("0.01 % of events blocked", "100 %"),
            " %",
            title="Precision by the share of events that is blocked",
        ),
        "scores": histogram(scores, ("score 0", "score 1"), " %", title="Distribution of scores"),
        "calibration": histogram(
            {
                LOGGED: [100 * (one.fraud.value or 0.0) for one in calibrated],
                REPLAYED: [100 * one.mean_score for one in calibrated],
            },
            ("lowest scores", "highest scores"),
            " %",
            title="Share of fraud, and mean score, by groups of scores",
        ),
    }


def _listed(report: BacktestReport) -> list[SweepPoint]:
    """Return every fourth point of the sweep, and those at the version's own thresholds."""
    own = (report.model.review, report.model.block)
    return [point for place, point in enumerate(report.sweep) if place % 4 == 0 or point.threshold in own]


def _curve(points: Sequence[SweepPoint], name: str) -> list[tuple[float, float]]:
    """Return a figure over the share that is blocked, on a logarithmic axis."""
    found = [(max(point.blocked, _LEAST_SHARE), getattr(point, name)) for point in points]
    return [(1 - log10(blocked) / log10(_LEAST_SHARE), 100 * value) for blocked, value in found if value is not None]


def _percent(counts: Sequence[int]) -> list[float | None]:
    total = sum(counts)
    return [100 * count / total if total else None for count in counts]


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"


def _share_interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    return f"{estimate.value:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"


def _amount_interval(estimate: Estimate) -> str:
    return f"{_number(estimate.value)} ({_number(estimate.low)} to {_number(estimate.high)})"
