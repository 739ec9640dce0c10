"""When a field is flagged: the tail and the distances are scipy's, and chance alone flags nothing."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom

from monitoring.field_alarms import MAX_FALSE_ALARM, binomial_tail, corrected_psi, exceeds, field_state, js_distance
from monitoring.profile import FieldBaseline, count_field
from registry.signature import Field

AMOUNT = Field("amount", "float", nullable=True)
RNG = np.random.default_rng(20_261_127)


def amounts(n: int, scale: float = 1.0, nulls: float = 0.0) -> list[dict[str, float | None]]:
    values = scale * RNG.lognormal(3.0, 1.0, n)
    return [{"amount": None if missing else float(v)} for v, missing in zip(values, RNG.random(n) < nulls, strict=True)]


NORMAL = FieldBaseline.of(AMOUNT, amounts(1_000))


def alarms(events: list[dict[str, float | None]]) -> tuple[str, ...]:
    return field_state("amount", count_field("amount", NORMAL, events), NORMAL).alarms


@pytest.mark.parametrize(("count", "events", "share"), [(5, 20, 0.1), (40, 500, 0.01), (1, 1, 0.01), (900, 1_000, 0.5)])
def test_the_binomial_tail_is_scipys(count: int, events: int, share: float) -> None:
    assert binomial_tail(count, events, share) == pytest.approx(binom.sf(count - 1, events, share), rel=1e-9)


def test_a_count_up_to_its_mean_has_no_small_tail() -> None:
    assert binomial_tail(0, 0, 0.01) == binomial_tail(5, 500, 0.01) == 1.0
    assert binomial_tail(1, 5, 0.0) == 0.0


def test_the_distance_is_scipys() -> None:
    now, usual = {"a": 30, "b": 50, "c": 20}, {"a": 200, "b": 100, "d": 7}
    names = "abcd"
    p, q = (np.array([bins.get(name, 0) + 0.5 for name in names]) for bins in (now, usual))
    assert js_distance(now, usual) == pytest.approx(jensenshannon(p, q, base=2))
    assert js_distance(usual, usual) == 0.0


def test_the_corrected_index_is_0_on_average_when_nothing_has_changed() -> None:
    shares = np.full(10, 0.1)
    usual = RNG.multinomial(1_000, shares, 400)
    now = RNG.multinomial(600, shares, 400)
    found = [
        corrected_psi({str(i): int(n) for i, n in enumerate(a)}, {str(i): int(n) for i, n in enumerate(b)})
        for a, b in zip(now, usual, strict=True)
    ]
    assert np.mean(found) == pytest.approx(0.0, abs=0.003)


def test_a_tenth_of_missing_values_is_flagged_and_half_a_percent_is_not() -> None:
    assert alarms(amounts(400, nulls=0.1)) == ("missing",)
    assert alarms(amounts(20_000, nulls=0.005)) == ()


def test_few_events_flag_nothing_unless_all_are_missing() -> None:
    assert alarms(amounts(3, nulls=1.0)) == ()
    assert alarms(amounts(10, nulls=1.0)) == ("missing",)
    assert alarms([]) == ()


def test_a_usual_share_of_missing_values_is_normal() -> None:
    assert not exceeds(1_100, 10_000, 100, 1_000)
    assert exceeds(2_500, 10_000, 100, 1_000)


def test_amounts_in_cents_are_flagged_as_drift() -> None:
    assert alarms(amounts(600, scale=100.0)) == ("drift",)


def test_drift_needs_a_minimum_of_events_and_a_large_change() -> None:
    assert alarms(amounts(400, scale=100.0)) == ()
    assert alarms(amounts(200_000, scale=1.1)) == ()


@pytest.mark.parametrize("rows", [16, 30, 50])
def test_a_small_baseline_raises_no_drift(rows: int) -> None:
    few = FieldBaseline.of(AMOUNT, amounts(rows))
    found = [field_state("amount", count_field("amount", few, amounts(3_000)), few).alarms for _ in range(50)]
    assert "drift" not in {alarm for one in found for alarm in one}


def test_healthy_hours_are_silent_at_every_size() -> None:
    assert [alarms(amounts(n)) for n in (1, 30, 500, 2_000, 50_000)] == [()] * 5


def test_the_error_of_one_look_is_small_enough_for_a_year_of_fields() -> None:
    looks_per_year = 365 * 24 * 3600 / 15
    assert looks_per_year * 100 * MAX_FALSE_ALARM < 1
