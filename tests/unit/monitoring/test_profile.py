"""What is counted of a field, and that counts of parts add up to the counts of the whole."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from monitoring.profile import FieldBaseline, FieldCounts, count_field
from registry.signature import Field

AMOUNT, CURRENCY = Field("amount", "float", nullable=True), Field("currency", "string", nullable=True)
AMOUNTS = [{"amount": float(n)} for n in range(1, 101)]
CURRENCIES = [{"currency": "USD"}] * 80 + [{"currency": "EUR"}] * 20
values = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-10, 200), st.just("text"), st.booleans())
payloads = st.lists(st.fixed_dictionaries({}, optional={"amount": values}), max_size=30)


def counted(field: Field, normal: list[dict[str, Any]], *now: dict[str, Any]) -> FieldCounts:
    return count_field(field.name, FieldBaseline.of(field, normal), now)


def test_a_baseline_has_deciles_a_range_and_its_own_counts() -> None:
    baseline = FieldBaseline.of(AMOUNT, [*AMOUNTS, {"amount": None}, {}])
    assert len(baseline.edges) == 9
    assert (baseline.lowest, baseline.highest) == (1.0, 100.0)
    assert (baseline.counts.events, baseline.counts.nulls, baseline.counts.absent) == (102, 1, 1)
    assert set(baseline.counts.bins.values()) == {10}


def test_null_absent_and_wrong_values_are_counted_apart() -> None:
    found = counted(AMOUNT, AMOUNTS, {"amount": None}, {}, {"amount": "many"}, {"amount": True}, {"amount": 7})
    assert (found.events, found.nulls, found.absent, found.wrong) == (5, 1, 1, 2)


def test_numbers_outside_the_range_are_counted_and_binned() -> None:
    found = counted(AMOUNT, AMOUNTS, {"amount": 0.5}, {"amount": 100.0}, {"amount": 10_000})
    assert (found.out_of_range, found.bins) == (2, {"0": 1, "9": 2})


def test_unknown_categories_are_unseen() -> None:
    found = counted(CURRENCY, CURRENCIES, {"currency": "USD"}, {"currency": "XAU"})
    assert (found.unseen, found.bins) == (1, {"USD": 1, "*": 1})


def test_no_value_of_an_identifier_is_unseen() -> None:
    ids = [{"currency": f"id-{n}"} for n in range(2_000)]
    assert counted(CURRENCY, ids, {"currency": "id-new"}).unseen == 0


def test_a_field_without_any_normal_value_counts_what_arrives() -> None:
    assert counted(AMOUNT, [{}], {"amount": 3}).bins == {"0": 1}


@given(payloads, st.integers(0, 30), st.randoms(use_true_random=False))
def test_counts_merge_by_addition_in_any_order(events: list[dict[str, Any]], cut: int, shuffle: random.Random) -> None:
    baseline = FieldBaseline.of(AMOUNT, AMOUNTS)
    whole = count_field("amount", baseline, events)
    parts = [count_field("amount", baseline, part) for part in (events[:cut], events[cut:])]
    shuffle.shuffle(parts)
    assert parts[0] + parts[1] + FieldCounts() == whole
