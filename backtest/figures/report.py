"""The report of a backtest, from its sums."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from backtest.figures.cells import SIDES, Cells
from backtest.figures.control_group import control_group_figures
from backtest.figures.costs import CostTable
from backtest.figures.description import (
    BacktestReport,
    BlindSpot,
    CostComparison,
    DecisionCount,
    LabelledEvents,
    OwnLog,
    SegmentReport,
    TestedVersion,
)
from backtest.figures.sweep import Bins, score_bins
from backtest.tally.layout import AFTER, AMOUNT_UNIT, CELLS, FRAUD, LABELS, LEGITIMATE, NOT_SCORED, UNLABELLED, edges_of
from backtest.tally.sums import Sums
from registry.model_version import ModelVersion, Thresholds
from scoring.decision import DECISIONS

_BLOCK = DECISIONS.index("block")


@dataclass(frozen=True, slots=True)
class BacktestSpan:
    """The question that a backtest answers. Days are UTC, both inclusive; `product` is the model's."""

    model: ModelVersion
    production: ModelVersion | None
    since: date
    until: date
    matured_before: datetime
    unlabelled_are_legitimate: bool
    amount_field: str


def make_report(span: BacktestSpan, sums: Sums, costs: CostTable | None) -> BacktestReport:
    """Return every figure. `sums` has at least one event."""
    assumed = span.unlabelled_are_legitimate
    cells = Cells(
        sums.arrays["cells events"],
        sums.arrays["cells amount"],
        sums.arrays.get("cells squares"),
        unlabelled_are_legitimate=assumed,
    )
    bins = {
        side: Bins(
            edges_of(span.model.thresholds),
            sums.arrays[f"bins {side} events"],
            sums.arrays[f"bins {side} amount"],
            sums.arrays[f"bins {side} score"],
            unlabelled_are_legitimate=assumed,
        )
        for side in SIDES
    }
    events = cells.events.sum(axis=2)
    scored = events[:, :NOT_SCORED]
    logged, replayed = scored.sum(axis=1), scored.sum(axis=0)
    thresholds = span.model.thresholds
    return BacktestReport(
        product=span.model.product,
        model=tested(span.model),
        production=tested(span.production) if span.production else None,
        since=str(span.since),
        until=str(span.until),
        matured_before=span.matured_before.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        unlabelled_are_legitimate=assumed,
        amount_field=span.amount_field,
        events=sums.counts["events"],
        without_amount=sums.counts["without amount"],
        by_production=sums.counts["by production"],
        not_scored=int(events[:, NOT_SCORED].sum()),
        refusals=dict(sorted(sums.refusals.items())),
        flips=int(scored.sum() - sum(scored[i, i] for i in range(len(DECISIONS)))),
        block_ratio=_ratio(replayed[_BLOCK], logged[_BLOCK]),
        review_ratio=_ratio(replayed[1], logged[1]),
        decisions=_decisions(cells),
        labels=LabelledEvents(*(int(cells.events[:, :, label].sum()) for label in range(len(LABELS)))),
        own_log=OwnLog(
            sums.counts["same version"],
            sums.counts["same version flips"],
            sums.maxima.get("same version difference", 0.0),
        ),
        quality=[cells.comparison("block"), cells.comparison("review or block")],
        blind_spot=_blind_spot(cells),
        cost=_cost(cells, costs),
        segments=_segments(sums.segments, assumed),
        scores=score_bins(bins["before"], bins["after"]),
        calibration=bins["after"].calibration(),
        sweep=bins["after"].sweep(thresholds, costs),
        sweep_before=bins["before"].sweep(thresholds, costs),
        largest_flips=sums.flips,
        control_group=control_group_figures(sums.arrays, unlabelled_are_legitimate=assumed),
    )


def tested(version: ModelVersion) -> TestedVersion:
    thresholds: Thresholds = version.thresholds
    label = f"{version.product}/{version.name}/{version.version}"
    return TestedVersion(version.model_id, label, version.sha256, float(thresholds.review), float(thresholds.block))


def _ratio(after: Any, before: Any) -> float | None:
    return int(after) / int(before) if before else None


def _decisions(cells: Cells) -> list[DecisionCount]:
    events, amounts = cells.events.sum(axis=2), cells.amounts.sum(axis=2)
    return [
        DecisionCount(before, after, int(events[i, j]), int(amounts[i, j]) / AMOUNT_UNIT)
        for i, before in enumerate(DECISIONS)
        for j, after in enumerate(AFTER)
    ]


def _blind_spot(cells: Cells) -> BlindSpot:
    def count(counters: Any, unlabelled: bool, passed: bool = False) -> int:
        blocked = counters[_BLOCK]
        chosen = blocked[:_BLOCK] if passed else blocked
        return int((chosen[:, UNLABELLED:] if unlabelled else chosen).sum())

    return BlindSpot(
        blocked=count(cells.events, False),
        blocked_amount=count(cells.amounts, False) / AMOUNT_UNIT,
        unlabelled=count(cells.events, True),
        unlabelled_amount=count(cells.amounts, True) / AMOUNT_UNIT,
        unlabelled_that_candidate_passes=count(cells.events, True, passed=True),
        unlabelled_amount_that_candidate_passes=count(cells.amounts, True, passed=True) / AMOUNT_UNIT,
    )


def _cost(cells: Cells, costs: CostTable | None) -> CostComparison | None:
    if costs is None:
        return None
    totals = []
    for side in SIDES:
        events, amounts = {}, {}
        for label in (FRAUD, LEGITIMATE):
            counts, sums = (cells.by_decision(counters, label, side) for counters in (cells.events, cells.amounts))
            for place, decision in enumerate(DECISIONS):
                key = (LABELS[label], str(decision))
                events[key], amounts[key] = counts[place], sums[place] / AMOUNT_UNIT
        totals.append(costs.of(events, amounts))
    before, after = totals
    return CostComparison(before, after, costs)


def _segments(segments: Mapping[str, Mapping[str, Sequence[int]]], assumed: bool) -> list[SegmentReport]:
    found = []
    for field, values in segments.items():
        of_field = [_segment(field, value, numbers, assumed) for value, numbers in values.items()]
        found += sorted(of_field, key=lambda segment: (-segment.events, segment.value))
    return found


def _segment(field: str, value: str, numbers: Sequence[int], assumed: bool) -> SegmentReport:
    cells = Cells(numbers[:CELLS], numbers[CELLS:], None, unlabelled_are_legitimate=assumed)
    scored = cells.events.sum(axis=2)[:, :NOT_SCORED]
    total = int(scored.sum())
    logged, replayed = scored.sum(axis=1), scored.sum(axis=0)
    quality = cells.comparison("block")
    fraud = cells.labelled(cells.events, FRAUD)
    return SegmentReport(
        field=field,
        value=value,
        events=int(cells.events.sum()),
        amount=int(cells.amounts.sum()) / AMOUNT_UNIT,
        blocked_before=int(logged[_BLOCK]) / total if total else 0.0,
        blocked_after=int(replayed[_BLOCK]) / total if total else 0.0,
        stopped_before=int(logged[1:].sum()) / total if total else 0.0,
        stopped_after=int(replayed[1:].sum()) / total if total else 0.0,
        fraud=fraud,
        recall_before=quality.before.recall,
        recall_after=quality.after.recall,
        false_positive_rate_before=quality.before.false_positive_rate,
        false_positive_rate_after=quality.after.false_positive_rate,
    )
