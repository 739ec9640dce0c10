"""Short runs of those fault scenarios that no other test covers; `make faults` runs all of them at length."""

import pytest

from lab.faults.__main__ import SCENARIOS, run
from lab.faults.scenario import Outcome

CHOSEN = ("killed-while-cut", "rolling-restart")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    chosen = [scenario for scenario in SCENARIOS if scenario.name in CHOSEN]
    return {outcome.name: outcome for outcome in run(chosen, quick=True, quiet=True)}


@pytest.mark.parametrize("name", CHOSEN)
def test_nothing_is_lost_doubled_or_wrong(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = outcomes[name]
    assert (outcome.reconciliation.answered > 500, outcome.passed) == (True, True), outcome
