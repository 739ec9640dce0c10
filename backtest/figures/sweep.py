"""Figures for any threshold, from the bins of scores: no model run is needed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from backtest.figures.costs import CostTable
from backtest.figures.description import CalibrationBin, ScoreBins, SweepPoint
from backtest.tally.layout import AMOUNT_UNIT, FRAUD, LABELS, LEGITIMATE, SCORE_UNIT, UNLABELLED
from canary.intervals import share
from canary.judge.drift import population_stability_index
from canary.judge.sequential import CANARY, PRODUCTION
from registry.model_version import Thresholds

_POINTS = 80
_CALIBRATION_BINS = 10
_SCORE_BINS = 20


class Bins:
    """Events, amounts and sums of scores per score bin and label, of one side."""

    def __init__(
        self,
        edges: Sequence[float],
        events: Sequence[int],
        amounts: Sequence[int],
        scores: Sequence[int],
        *,
        unlabelled_are_legitimate: bool,
    ) -> None:
        self.edges = list(edges)
        shape = (len(edges), len(LABELS))
        self.events, self._amounts, self._scores = (
            np.array(values, object).reshape(shape) for values in (events, amounts, scores)
        )
        self._legitimate = [LEGITIMATE, UNLABELLED] if unlabelled_are_legitimate else [LEGITIMATE]

    def of_label(self, counters: Any, label: int) -> Any:
        return counters[:, self._legitimate].sum(axis=1) if label == LEGITIMATE else counters[:, label]

    def sweep(self, thresholds: Thresholds, costs: CostTable | None) -> list[SweepPoint]:
        """Return points from the lowest threshold to the highest, among them both that the version has."""
        above = np.cumsum(self.events.sum(axis=1)[::-1])[::-1]
        total = int(above[0]) if len(above) else 0
        if not total:
            return []
        wanted = np.geomspace(1, max(total, 2), _POINTS)
        places = {int(np.searchsorted(-above.astype(np.float64), -w, side="right")) - 1 for w in wanted}
        places |= {self.edges.index(float(thresholds.review)), self.edges.index(float(thresholds.block))}
        review = self.edges.index(float(thresholds.review))
        return [self._point(place, review, int(above[place]) / total, costs) for place in sorted(places) if place >= 0]

    def _point(self, place: int, review: int, blocked: float, costs: CostTable | None) -> SweepPoint:
        events = {label: self.of_label(self.events, label) for label in (FRAUD, LEGITIMATE)}
        amounts = {label: self.of_label(self._amounts, label) for label in (FRAUD, LEGITIMATE)}
        caught, wrong = (int(events[label][place:].sum()) for label in (FRAUD, LEGITIMATE))
        fraud, legitimate = (int(events[label].sum()) for label in (FRAUD, LEGITIMATE))
        cost = None
        if costs:
            spans = {"allow": slice(min(review, place)), "review": slice(min(review, place), place)}
            spans["block"] = slice(place, None)
            pairs = [(label, decision) for label in (FRAUD, LEGITIMATE) for decision in spans]
            cost = costs.of(
                {(LABELS[label], d): int(events[label][spans[d]].sum()) for label, d in pairs},
                {(LABELS[label], d): int(amounts[label][spans[d]].sum()) / AMOUNT_UNIT for label, d in pairs},
            )
        return SweepPoint(
            threshold=self.edges[place],
            blocked=blocked,
            precision=caught / (caught + wrong) if caught + wrong else None,
            recall=caught / fraud if fraud else None,
            false_positive_rate=wrong / legitimate if legitimate else None,
            amount_caught=int(amounts[FRAUD][place:].sum()) / AMOUNT_UNIT,
            amount_missed=int(amounts[FRAUD][:place].sum()) / AMOUNT_UNIT,
            amount_wrongly_declined=int(amounts[LEGITIMATE][place:].sum()) / AMOUNT_UNIT,
            cost=cost,
        )

    def calibration(self) -> list[CalibrationBin]:
        """Return groups of neighbouring scores with about as many labelled events each."""
        fraud = self.of_label(self.events, FRAUD)
        events = fraud + self.of_label(self.events, LEGITIMATE)
        scores = self.of_label(self._scores, FRAUD) + self.of_label(self._scores, LEGITIMATE)
        total = int(events.sum())
        if not total:
            return []
        middles = np.cumsum(events) - events / 2
        groups = np.minimum((middles * _CALIBRATION_BINS / total).astype(np.int64), _CALIBRATION_BINS - 1)
        found = []
        for group in range(_CALIBRATION_BINS):
            chosen = groups == group
            count = int(events[chosen].sum())
            if count:
                mean = int(scores[chosen].sum()) / SCORE_UNIT / count
                found.append(CalibrationBin(count, mean, share(int(fraud[chosen].sum()), count)))
        return found


def score_bins(before: Bins, after: Bins) -> ScoreBins:
    """Return both distributions, and how far the candidate's is from the logged one."""
    counts = np.zeros((2, len(before.edges)), np.int64)
    counts[PRODUCTION] = before.events.sum(axis=1)
    counts[CANARY] = after.events.sum(axis=1)
    psi = population_stability_index(counts) if counts.any(axis=1).all() else None
    equal = np.minimum((np.array(before.edges) * _SCORE_BINS + 1e-9).astype(np.int64), _SCORE_BINS - 1)
    drawn = [np.bincount(equal, weights=counts[arm], minlength=_SCORE_BINS) for arm in (PRODUCTION, CANARY)]
    return ScoreBins([int(n) for n in drawn[0]], [int(n) for n in drawn[1]], psi)
