"""A report in the terminal: tables that fit 80 columns."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from backtest.figures.description import BacktestReport, Comparison, ControlGroupFigures, DecisionCount
from backtest.tally.layout import AFTER
from canary.intervals import Estimate
from scoring.decision import DECISIONS

_SEGMENT_ROWS = 12


def report_parts(report: BacktestReport) -> Iterator[RenderableType]:
    """Yield what is printed, in order."""
    model, production = report.model, report.production
    yield Text(f"{model.label} on the log of {report.since} to {report.until} (UTC)", style="bold")
    yield Text(
        f"{report.events:,} events, {report.by_production:,} of them answered by "
        f"{production.label if production else 'no production version'}"
    )
    if report.refusals:
        yield Text(f"{report.not_scored:,} have no score:")
        yield from (Text(f"  {events:,}  {reason}") for reason, events in report.refusals.items())
    if report.own_log.events:
        yield Text(
            f"{report.own_log.events:,} were answered by this very version: {report.own_log.flips:,} flips, scores "
            f"differ by at most {report.own_log.max_difference:.1g}"
        )
    yield _decision_table(report)
    yield Text(
        f"{report.flips:,} decided otherwise; blocks x {_number(report.block_ratio)}, "
        f"reviews x {_number(report.review_ratio)}"
    )
    yield from _labelled(report)
    yield _blind_spot(report)
    if report.control_group:
        yield from _control_group(report.control_group)
    for field in dict.fromkeys(segment.field for segment in report.segments):
        yield _segment_table(report, field)
    if report.largest_flips:
        yield _flip_table(report)


def _decision_table(report: BacktestReport) -> Table:
    table = _table("logged \\ replayed", *AFTER)
    counts: dict[tuple[str, str], DecisionCount] = {(one.before, one.after): one for one in report.decisions}
    for before in DECISIONS:
        cells = [counts[before, after] for after in AFTER]
        table.add_row(before, *(f"{one.events:,}" for one in cells))
        table.add_row("  amount", *(_amount(one.amount) for one in cells), style="dim")
    return table


def _labelled(report: BacktestReport) -> Iterator[RenderableType]:
    labels = report.labels
    yield Text(
        f"\nLabels: {labels.fraud:,} fraud, {labels.legitimate:,} legitimate, {labels.unlabelled:,} without a label"
        + (" (taken as legitimate)" if report.unlabelled_are_legitimate else "")
        + f"; {labels.not_matured:,} events are too young (after {report.matured_before})"
    )
    for comparison in report.quality:
        if comparison.before.true_positives + comparison.before.false_negatives:
            yield _quality_table(comparison)
    if report.cost:
        yield Text(f"cost: {_amount(report.cost.before)} logged, {_amount(report.cost.after)} replayed")


def _quality_table(comparison: Comparison) -> Table:
    table = _table(f"{comparison.positive}, 95 %", "logged", "replayed")
    before, after = comparison.before, comparison.after
    for name in ("precision", "recall", "false_positive_rate"):
        table.add_row(name.replace("_", " "), _share(getattr(before, name)), _share(getattr(after, name)))
    for name in ("amount_caught", "amount_missed", "amount_wrongly_declined"):
        table.add_row(name.replace("_", " "), _interval(getattr(before, name)), _interval(getattr(after, name)))
    table.add_row("recall gained", "", _share(comparison.recall_difference))
    return table


def _blind_spot(report: BacktestReport) -> Text:
    spot = report.blind_spot
    return Text(
        f"\nBlind spot: {spot.unlabelled:,} of {spot.blocked:,} blocked events have no matured label; the candidate "
        f"lets {spot.unlabelled_that_candidate_passes:,} of them pass "
        f"(amount {_amount(spot.unlabelled_amount_that_candidate_passes)})"
    )


def _control_group(figures: ControlGroupFigures) -> Iterator[RenderableType]:
    yield Text(
        f"Control group: {figures.passed:,} of {figures.eligible:,} events that would have been blocked passed, "
        f"{figures.labelled:,} of them have a label; {figures.blind:,} other blocked events (amount "
        f"{_amount(figures.blind_amount)}) remain unknown"
    )
    table = _table("block, weighted, 95 %", "logged model", "replayed")
    for name in ("precision", "recall", "false_positive_rate"):
        row = (_share(getattr(side, name)) for side in (figures.before, figures.after))
        table.add_row(name.replace("_", " "), *row)
    yield table


def _segment_table(report: BacktestReport, field: str) -> Table:
    table = _table(field, "events", "blocked", "then", "recall", "then")
    of_field = [segment for segment in report.segments if segment.field == field]
    for segment in of_field[:_SEGMENT_ROWS]:
        table.add_row(
            Text(segment.value[:28]),
            f"{segment.events:,}",
            f"{segment.blocked_before:.2%}",
            f"{segment.blocked_after:.2%}",
            _percent(segment.recall_before.value),
            _percent(segment.recall_after.value),
        )
    if len(of_field) > _SEGMENT_ROWS:
        table.add_row(f"{len(of_field) - _SEGMENT_ROWS} more: --json", *[""] * 5, style="dim")
    return table


def _flip_table(report: BacktestReport) -> Table:
    table = _table("largest flips", "amount", "logged", "replayed", "label")
    for flip in report.largest_flips[:10]:
        table.add_row(
            Text(flip.event_id[:24]),
            _amount(flip.amount),
            f"{flip.before} {flip.score_before:.3f}",
            f"{flip.after} {flip.score_after:.3f}",
            flip.label or "–",
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _share(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "–"
    return f"{estimate.value:.2%} ({estimate.low:.2%} to {estimate.high:.2%})"


def _interval(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return "–"
    return f"{_amount(estimate.value)} ({_amount(estimate.low)} to {_amount(estimate.high)})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _amount(value: float) -> str:
    """Return an amount in at most nine characters."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value:,.0f}"
