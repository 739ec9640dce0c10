"""What is wrong, from the facts of one moment."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from console.overview import alarms as module
from console.overview.alarms import alarms
from console.overview.store import Facts, ProductRow, RolloutRow

NOW = datetime(2026, 11, 27, 4, tzinfo=UTC)
SERVED = ProductRow("cards", "id", "gbm", "1", NOW, 1)
QUIET = Facts((SERVED,), (), {}, {}, {}, NOW - timedelta(seconds=5))
ROLLOUT = RolloutRow("cards", "r", "running", 10, 0, 4, NOW, None, "gbm 2", "continue", ("more",), NOW)


def found(facts: Facts, firing: tuple[tuple[str, str], ...] = ()) -> list[str]:
    return [alarm.alert for alarm in alarms(facts, firing, NOW)]


def with_rollout(**changes: Any) -> Facts:
    return replace(QUIET, rollouts=(replace(ROLLOUT, **changes),))


def test_a_healthy_moment_raises_nothing() -> None:
    assert found(QUIET) == []
    assert found(with_rollout()) == []


@pytest.mark.parametrize(
    ("facts", "alert"),
    [
        (replace(QUIET, judged_at=None), "SiraControllerDown"),
        (replace(QUIET, judged_at=NOW - timedelta(seconds=61)), "SiraControllerDown"),
        (replace(QUIET, products=(replace(SERVED, model_id=None),)), "SiraNoProductionModel"),
        (replace(QUIET, guards={"cards": ("block",)}), "SiraBlockRateJump"),
        (replace(QUIET, tripped=("cards",)), "SiraBreakerTripped"),
        (replace(QUIET, guards={"cards": ("review",)}), "SiraReviewRateJump"),
        (with_rollout(verdict="hold"), "SiraCanaryOnHold"),
        (with_rollout(judged_at=NOW - timedelta(seconds=61)), "SiraCanaryUnjudged"),
        (with_rollout(status="rolled_back", ended_at=NOW), "SiraCanaryRolledBack"),
    ],
)
def test_each_fault_raises_its_alarm(facts: Facts, alert: str) -> None:
    assert found(facts) == [alert]


@pytest.mark.parametrize(
    "facts",
    [
        replace(QUIET, judged_at=NOW - timedelta(seconds=60)),
        replace(QUIET, guards={"cards": ()}),
        with_rollout(verdict="hold", status="paused"),
        with_rollout(verdict=None, reasons=None, judged_at=None),
    ],
)
def test_what_is_not_wrong_stays_silent(facts: Facts) -> None:
    assert found(facts) == []


def test_what_is_urgent_comes_first() -> None:
    facts = replace(with_rollout(verdict="hold"), judged_at=None)
    assert found(facts, (("SiraDown", ""),)) == ["SiraControllerDown", "SiraDown", "SiraCanaryOnHold"]


def test_every_alarm_leads_to_a_section_of_the_operations_page() -> None:
    source = Path(module.__file__).read_text()
    named = set(re.findall(r'"(Sira\w+)"', source))
    headings = set(
        re.findall(r"^### (Sira\w+)$", (Path(__file__).parents[4] / "docs/operations.md").read_text(), re.MULTILINE)
    )
    assert len(named) == 8
    assert named <= headings
