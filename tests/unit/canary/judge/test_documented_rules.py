"""docs/judging.md agrees with the judge: its worked example and its table of rules."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from canary.judge import sequential
from canary.judge.absorb import RESTARTS_WEIGHT, absorb
from canary.judge.error_and_latency_rules import check_errors
from canary.judge.evidence import ArmBucket, Bucket
from canary.judge.safety_rules import JudgeInputs
from canary.judge.state import ERROR_ALTERNATIVES, PHASE_WEIGHT, JudgeState
from canary.judge.verdict import judge
from canary.limits import Limits, Policy

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "judging.md").read_text()
TEN = Policy(percent=10)
PRODUCTION, CANARY = ArmBucket(requests=900, errors=2), ArmBucket(requests=100, errors=3)


def rows(part: str) -> list[list[str]]:
    """The cells of every table row between `<!-- part -->` and its end, without heads."""
    text = PAGE[PAGE.index(f"<!-- {part} -->") : PAGE.index(f"<!-- /{part} -->")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in cells if not set("".join(row)) <= set("-:")]


def states() -> Iterator[JudgeState]:
    """The judge's state after each bucket of the example."""
    state = None
    for start in range(0, 60, 5):
        state = absorb(state, Bucket(start, 0, PRODUCTION, CANARY), TEN)
        yield state


def test_the_documented_ratios_of_one_bucket_follow_from_the_documented_formula() -> None:
    alternatives, printed = ([float(cell) for cell in row[1:]] for row in rows("example")[:2])
    assert alternatives == ERROR_ALTERNATIVES.tolist()
    odds = 1.2 * 100 / 900
    by_hand = [3 * np.log(r) - 5 * np.log((1 + r * odds) / (1 + odds)) for r in alternatives]
    assert printed == pytest.approx(by_hand, abs=0.0005)
    events, requests = np.array([2.0, 3.0]), np.array([900.0, 100.0])
    assert by_hand == pytest.approx(sequential.log_likelihood_ratio(events, requests, ERROR_ALTERNATIVES, 1.2).tolist())


def test_the_judge_gives_the_documented_evidence_and_outcome_after_each_bucket() -> None:
    assert (PHASE_WEIGHT, RESTARTS_WEIGHT / 2) == (0.1, 0.25)
    documented = rows("example")[3:]
    assert len(documented) == 3
    for state, (_, evidence, ratio, outcome) in zip(states(), documented, strict=False):
        measured = check_errors(state, TEN)
        assert measured.evidence == pytest.approx(float(evidence), rel=0.002)
        assert (measured.value, measured.outcome) == (pytest.approx(float(ratio)), outcome)


def test_every_measurement_of_the_judge_is_documented() -> None:
    state = next(states())
    policy = Policy(percent=10, limits=Limits(recall_ratio=1.1))
    verdict = judge(state, policy, JudgeInputs(now=10.0, bake_over=True))
    documented = set(re.findall(r"^\|[^|]*\| `([a-z0-9_]+)` \|", PAGE, re.MULTILINE))
    assert documented == {measurement.name for measurement in verdict.measurements}


def test_the_documented_limits_are_the_defaults() -> None:
    limits = Limits()
    assert (limits.error_ratio_allowed, limits.error_ratio, limits.p95_ratio) == (1.2, 1.5, 1.3)
    assert (1 / limits.error_alpha, 1 / limits.latency_alpha, 2 / limits.decision_alpha) == (250, 250, 2000)
    assert (limits.go_evidence, limits.latency_samples, limits.threshold_samples) == (20, 200, 1000)
    assert (limits.block_ratio, limits.flip_rate, limits.psi, limits.matured_share) == (2, 0.02, 0.1, 0.8)
    assert (limits.silence_seconds, limits.stale_seconds, limits.false_positive_change) == (120, 30, 0.05)
    assert (limits.recall_ratio, 1 / limits.recall_alpha) == (None, 1000)
    assert (limits.sample_ratio, 1 / limits.sample_alpha) == (1.25, 1000)
    assert (limits.error_rate_negligible, limits.p95_negligible_seconds) == (0.0005, 0.002)
