"""Which blocks are let through: by a seed, under an amount, from a slot of the day."""

import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scoring.control_group import RunningControlGroup, is_selected, is_within_amount, slots_per_request
from scoring.event import parse_event
from scoring.models.control_slots import DaySlots, ServedControlGroup

GROUP = RunningControlGroup("cards", 0.05, "review", 100, 200.0, "amount", b"0123456789abcdef")
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
EVENTS = [f"e{number}" for number in range(100_000)]


def served(slots: int, **changes: object) -> ServedControlGroup:
    held = DaySlots()
    held.add(NOON.date(), slots)
    return ServedControlGroup(replace(GROUP, **changes), held)  # type: ignore[arg-type]


def let_through(
    control: ServedControlGroup, event_id: str, amount: object = 10, at: datetime = NOON
) -> tuple[float, bool]:
    event = parse_event({"event_id": event_id, "product": "cards", "payload": {"amount": amount}})
    return control.let_through(event, at.timestamp())


@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 1.0])
def test_the_selected_events_are_the_share(share: float) -> None:
    group = replace(GROUP, share=share)
    selected = sum(is_selected(group, event) for event in EVENTS)
    # Five standard deviations of a binomial.
    assert abs(selected - share * len(EVENTS)) <= 5 * math.sqrt(len(EVENTS) * share * (1 - share))


def test_a_larger_share_keeps_the_events_of_a_smaller_one() -> None:
    small, large = ({e for e in EVENTS if is_selected(replace(GROUP, share=s), e)} for s in (0.005, 0.02))
    assert small < large


def test_another_process_and_only_the_same_seed_select_the_same_events() -> None:
    program = (
        "from tests.unit.scoring.test_control_group import EVENTS, GROUP, is_selected;"
        "print(*[event for event in EVENTS[:5000] if is_selected(GROUP, event)])"
    )
    words = [sys.executable, "-c", program]
    root = Path(__file__).parents[3]
    other = subprocess.run(words, capture_output=True, text=True, check=True, cwd=root, env={"PYTHONHASHSEED": "7"})
    here = [e for e in EVENTS[:5000] if is_selected(GROUP, e)]
    assert other.stdout.split() == here
    assert here != [e for e in EVENTS[:5000] if is_selected(replace(GROUP, seed=b"fedcba9876543210"), e)]


@pytest.mark.parametrize(
    ("amount", "within"),
    [
        (0, True),
        (200, True),
        (200.0, True),
        (200.01, False),
        (10**400, False),
        (-1, False),
        (math.nan, False),
        (math.inf, False),
        (True, False),
        ("10", False),
        (None, False),
    ],
)
def test_only_an_amount_up_to_the_limit_may_pass(amount: object, within: bool) -> None:
    assert is_within_amount(GROUP, {"amount": amount}) is within  # type: ignore[dict-item]
    assert not is_within_amount(GROUP, {"other": 10})


def test_an_event_that_may_not_pass_has_propensity_0_whether_selected_or_not() -> None:
    control = served(100)
    assert {let_through(control, event, 201) for event in EVENTS[:500]} == {(0.0, False)}
    assert {let_through(served(0), event) for event in EVENTS[:500]} == {(0.0, False)}


def test_others_have_the_share_as_propensity_whether_they_pass_or_not() -> None:
    found = {event: let_through(served(100), event) for event in EVENTS[:500]}
    assert {propensity for propensity, _ in found.values()} == {0.05}
    assert {event for event, (_, passes) in found.items() if passes} == {
        e for e in EVENTS[:500] if is_selected(GROUP, e)
    }


def test_each_slot_lets_one_event_through_and_then_propensities_are_0() -> None:
    control = served(3)
    found = [let_through(control, event) for event in EVENTS[:2000]]
    assert sum(passes for _, passes in found) == 3
    last = max(place for place, (_, passes) in enumerate(found) if passes)
    assert {propensity for propensity, _ in found[: last + 1]} == {0.05}
    assert set(found[last + 1 :]) == {(0.0, False)}


def test_a_repeated_event_gets_the_same_answer_and_no_second_slot() -> None:
    chosen = next(event for event in EVENTS if is_selected(GROUP, event))
    control = served(1)
    assert [let_through(control, chosen) for _ in range(3)] == [(0.05, True)] * 3
    assert control.slots.left(NOON.date()) == 0


def test_slots_of_a_day_do_not_serve_the_next() -> None:
    control = served(100)
    midnight = NOON.replace(day=27, hour=0)
    assert {let_through(control, event, at=midnight) for event in EVENTS[:200]} == {(0.0, False)}
    control.slots.add(midnight.date(), 1)
    assert control.slots.left(NOON.date()) == 0
    assert sum(let_through(control, event, at=midnight)[1] for event in EVENTS[:500]) == 1


def test_slots_that_are_given_back_are_gone() -> None:
    control = served(5)
    assert control.slots.give_back() == (NOON.date(), 5)
    assert control.slots.give_back() == (NOON.date(), 0)
    assert let_through(control, "e") == (0.0, False)


@pytest.mark.parametrize(("limit", "slots"), [(1, 1), (49, 1), (100, 2), (10_000, 200)])
def test_a_worker_takes_a_fiftieth_of_the_day_at_once(limit: int, slots: int) -> None:
    assert slots_per_request(limit) == slots
