"""With the control group, the precision and recall of blocks are found from labels; without it, they are not."""

from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score

from canary.intervals import Estimate, weighted_share
from canary.labels.weighting import label_weights
from monitoring.cohorts.figures import observed_quality
from scoring.control_group import RunningControlGroup
from scoring.event import Event
from scoring.models.control_slots import DaySlots, ServedControlGroup
from tests.support.cohorts import BLOCK, sums_of

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
N, SHARE = 20_000, 0.05
# Of the frauds that were blocked, so many become known some other way, and hardly any legitimate event does.
KNOWN_ANYWAY = 0.1


class Traffic:
    """A day of events: what they are, and what is known of them with the control group on."""

    def __init__(self, run: int) -> None:
        rng = np.random.default_rng(run)
        self.scores = rng.beta(0.3, 2.5, N)
        self.frauds = rng.random(N) < 0.75 * self.scores
        self.wanted = self.scores >= BLOCK - 0.2
        held = DaySlots()
        held.add(NOON.date(), N)
        group = RunningControlGroup("p", SHARE, "review", N, 100.0, "amount", run.to_bytes(16, "big"))
        control = ServedControlGroup(group, held)
        at = NOON.timestamp()
        decided = [
            control.let_through(Event(f"e{n}", "p", {"amount": 1}, "k", b""), at) if wanted else (np.nan, True)
            for n, wanted in enumerate(self.wanted)
        ]
        self.propensities = np.array([propensity for propensity, _ in decided])
        self.blocked = ~np.array([passes for _, passes in decided])
        self.labelled = ~self.blocked | (self.frauds & (rng.random(N) < KNOWN_ANYWAY))
        self.weights = label_weights(self.blocked, self.propensities)

    def shares(self, weights: np.ndarray) -> tuple[Estimate, Estimate]:  # type: ignore[type-arg]
        """Precision and recall of what the model wanted to block, from the labelled events."""

        def estimate(part: np.ndarray, whole: np.ndarray) -> Estimate:  # type: ignore[type-arg]
            part, whole = part & self.labelled, whole & self.labelled
            w = weights
            return weighted_share(w[part].sum(), w[whole].sum(), (w[whole] ** 2).sum(), (w[part] ** 2).sum())

        caught = self.wanted & self.frauds
        return estimate(caught, self.wanted), estimate(caught, self.frauds)


def covered(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


def test_weighted_figures_cover_the_truth_and_unweighted_ones_do_not() -> None:
    runs, weighted, plain = 100, np.zeros(2), np.zeros(2)
    for run in range(runs):
        traffic = Traffic(run)
        truth = (
            precision_score(traffic.frauds, traffic.wanted),
            recall_score(traffic.frauds, traffic.wanted),
        )
        weighted += [covered(*one) for one in zip(traffic.shares(traffic.weights), truth, strict=True)]
        plain += [covered(*one) for one in zip(traffic.shares(np.ones(N)), truth, strict=True)]
    # 95 % less three standard errors of so many runs.
    assert (weighted / runs >= 0.88).all(), weighted / runs
    assert plain[0] / runs <= 0.6
    assert plain[1] == 0


def test_the_mean_of_weighted_figures_is_the_truth() -> None:
    off = []
    for run in range(100):
        traffic = Traffic(run)
        truth = precision_score(traffic.frauds, traffic.wanted), recall_score(traffic.frauds, traffic.wanted)
        off.append([one.value - true for one, true in zip(traffic.shares(traffic.weights), truth, strict=True)])  # type: ignore[operator]
    mean, error = np.mean(off, axis=0), np.std(off, axis=0) / np.sqrt(len(off))
    assert (np.abs(mean) <= 4 * error).all(), (mean, error)


def test_figures_are_those_of_scikit_learn_with_the_weights() -> None:
    traffic = Traffic(7)
    known = traffic.labelled
    truth, guess, weights = traffic.frauds[known], traffic.wanted[known], traffic.weights[known]
    precision, recall = traffic.shares(traffic.weights)
    assert precision.value == pytest.approx(precision_score(truth, guess, sample_weight=weights))
    assert recall.value == pytest.approx(recall_score(truth, guess, sample_weight=weights))


def test_a_cohort_has_the_same_figures() -> None:
    traffic = Traffic(11)
    scores = np.where(traffic.wanted, 0.95, 0.1)
    quality = observed_quality(sums_of(scores, traffic.frauds, traffic.labelled, weights=traffic.weights), "block")
    precision, recall = traffic.shares(traffic.weights)
    assert (quality.precision.value, quality.recall.value) == (
        pytest.approx(precision.value),
        pytest.approx(recall.value),
    )
    assert (quality.recall.low, quality.recall.high) == (pytest.approx(recall.low), pytest.approx(recall.high))


@pytest.mark.parametrize(
    ("blocked", "propensity", "weight"),
    [
        (False, np.nan, 1.0),
        (True, np.nan, 1.0),
        (True, 0.0, 1.0),
        (False, 0.05, 20.0),
        (True, 0.05, 0.0),
        (False, 1.0, 1.0),
    ],
)
def test_an_event_that_passed_stands_for_those_that_might_have(blocked: bool, propensity: float, weight: float) -> None:
    assert label_weights(np.array([blocked]), np.array([propensity])).tolist() == [weight]
