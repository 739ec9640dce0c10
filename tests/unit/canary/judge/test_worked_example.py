"""The worked example of docs/judging.md is what the shipped test computes."""

import re
from pathlib import Path

import numpy as np
import pytest

from canary.judge import sequential
from canary.judge.state import ERROR_ALTERNATIVES, PHASE_WEIGHT

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "judging.md").read_text()
EXAMPLE = PAGE[PAGE.index("<!-- example -->") : PAGE.index("<!-- /example -->")]
# (production, canary), as everywhere in the judge.
EVENTS, REQUESTS = np.array([3.0, 4.0]), np.array([900.0, 100.0])


def ratios() -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    return sequential.log_likelihood_ratio(EVENTS, REQUESTS, ERROR_ALTERNATIVES, 1.2)


def test_the_documented_ratios_of_one_bucket_are_computed() -> None:
    row = next(line for line in EXAMPLE.splitlines() if line.startswith("| l(r)"))
    printed = [float(cell) for cell in row.split("|")[2:-1]]
    assert printed == pytest.approx(ratios().tolist(), abs=0.0005)


def test_the_ratios_follow_from_the_documented_formula() -> None:
    odds = 1.2 * 100 / 900
    by_hand = [4 * np.log(r) - 7 * np.log((1 + r * odds) / (1 + odds)) for r in ERROR_ALTERNATIVES]
    assert ratios().tolist() == pytest.approx(by_hand)


def test_the_documented_evidence_after_each_bucket_is_computed() -> None:
    test = sequential.restart(sequential.begin_test((), ERROR_ALTERNATIVES), PHASE_WEIGHT, at=0)
    evidence = []
    for _ in range(3):
        test = sequential.add_bucket(test, ratios(), EVENTS, REQUESTS)
        evidence.append(float(np.exp(sequential.log_evidence(test.log_wealth))))
    printed = re.search(
        r"= ([\d.]+)\. A second bucket like it gives ([\d.]+).*?A third gives\s+([\d,]+)", EXAMPLE, re.DOTALL
    )
    assert printed is not None
    assert [float(text.replace(",", "")) for text in printed.groups()] == pytest.approx(evidence, rel=0.003)
