"""The decision guard fires when a share has jumped, and is silent otherwise."""

import math

import numpy as np
import pytest

from canary.judge.sequential import log_likelihood_ratio_to_rate
from monitoring import guard
from monitoring.guard import ALTERNATIVES, BUCKET_SECONDS, LOG_THRESHOLD, NormalShare

REQUESTS = 200.0 * BUCKET_SECONDS
RATE = 0.01
REFERENCE = NormalShare(np.array(1.25 * RATE))


def fired_after(
    share: float, buckets: int, reference: NormalShare = REFERENCE, requests: float = REQUESTS
) -> int | None:
    """How many buckets of exactly this share it takes to fire; None when it does not."""
    events = np.full(buckets, share * REQUESTS)
    firing = guard.fires(guard.observe(guard.quiet(), events, np.full(buckets, REQUESTS), reference))
    return int(firing.argmax()) + 1 if firing.any() else None


def test_a_share_that_triples_fires_within_a_minute_at_200_requests_a_second() -> None:
    found = fired_after(3 * RATE, 60)
    assert found is not None
    assert found * BUCKET_SECONDS <= 60


@pytest.mark.parametrize("share", [RATE, 1.2 * RATE, 0.0])
def test_a_normal_share_never_fires(share: float) -> None:
    assert fired_after(share, 8640) is None


def test_a_product_with_one_request_a_minute_does_not_fire_for_one_block() -> None:
    requests = np.full(360, BUCKET_SECONDS / 60)
    rate = guard.highest_normal_rate(np.zeros((7, 3)), np.full((7, 3), 60.0))
    events = np.zeros(360)
    events[100] = 1.0
    assert not guard.fires(guard.observe(guard.quiet(), events, requests, NormalShare(rate))).any()


def test_bursts_need_more_events_to_fire() -> None:
    alone, bursts = fired_after(3 * RATE, 100), fired_after(3 * RATE, 100, NormalShare(REFERENCE.rate, 6.0))
    assert alone is not None
    assert bursts is not None
    assert bursts > alone


def test_without_history_nothing_fires() -> None:
    assert fired_after(1.0, 100, NormalShare(np.array(np.nan))) is None


def test_the_alarm_ends_soon_after_its_cause() -> None:
    wealth = guard.observe(guard.quiet(), np.full(200, 5 * RATE * REQUESTS), np.full(200, REQUESTS), REFERENCE)[-1]
    assert guard.fires(wealth)
    after = guard.observe(wealth, np.full(12, RATE * REQUESTS), np.full(12, REQUESTS), REFERENCE)
    assert not guard.fires(after[-1])


def test_without_bursts_it_is_the_judges_likelihood_ratio() -> None:
    events, requests = np.array(7.0), np.array(100.0)
    expected = log_likelihood_ratio_to_rate(events, requests, np.array(0.05), ALTERNATIVES)
    assert guard.log_ratio(events, np.array(5.0), 1.0) == pytest.approx(expected)


@pytest.mark.parametrize("phi", [1.0, 1.5, 3.0, 10.0])
@pytest.mark.parametrize("mean", [0.5, 8.0, 40.0])
def test_under_the_null_the_e_value_has_a_mean_of_one(phi: float, mean: float) -> None:
    """By summing over the whole distribution: Poisson, or negative binomial with variance phi * mean."""
    counts = np.arange(4_000.0)
    if phi == 1.0:
        logs = counts * math.log(mean) - mean - np.array([math.lgamma(n + 1) for n in counts])
    else:
        shape = mean / (phi - 1)
        logs = np.array([math.lgamma(n + shape) - math.lgamma(n + 1) for n in counts]) - math.lgamma(shape)
        logs += counts * math.log((phi - 1) / phi) - shape * math.log(phi)
    values = guard.log_ratio(counts, np.full(len(counts), mean), phi)
    assert np.exp(logs[:, None] + values).sum(axis=0) == pytest.approx(np.ones(len(ALTERNATIVES)), abs=1e-6)


def test_one_day_with_an_incident_is_left_out_of_what_is_normal() -> None:
    requests = np.full((7, 3), 700_000.0)
    events = requests * RATE
    events[2] *= 10
    assert float(guard.highest_normal_rate(events, requests)) < 1.5 * RATE


def test_days_that_differ_are_tolerated_more() -> None:
    requests = np.full((7, 3), 700_000.0)
    calm = guard.highest_normal_rate(requests * RATE, requests)
    spread = np.exp(np.array([-0.3, 0.2, -0.1, 0.3, 0.0, -0.2, 0.1]))[:, None]
    assert guard.highest_normal_rate(requests * RATE * spread, requests) > 1.3 * calm


def test_hours_whose_noise_cancels_over_the_day_do_not_widen_the_tolerance() -> None:
    requests = np.full((7, 3), 700_000.0)
    calm = guard.highest_normal_rate(requests * RATE, requests)
    noise = 0.2 * (-1.0) ** np.arange(7)[:, None] * np.array([1.0, -1.0, 0.0])
    assert guard.highest_normal_rate(requests * RATE * (1.0 + noise), requests) < 1.01 * calm


def test_too_few_days_are_no_history() -> None:
    requests = np.zeros((7, 3))
    requests[:2] = 1000.0
    assert np.isnan(guard.highest_normal_rate(requests * RATE, requests))


def test_the_dispersion_of_single_events_is_one_and_that_of_bursts_is_measured() -> None:
    rng = np.random.default_rng(4)
    requests = np.full((24, 120), 6_000.0)
    single = rng.poisson(requests * RATE).astype(float)
    shape = requests * RATE / 2.0
    bursts = rng.poisson(rng.gamma(shape, 2.0)).astype(float)  # variance 3 * mean
    assert float(guard.dispersion(single, requests)) == pytest.approx(1.0, abs=0.1)
    assert float(guard.dispersion(bursts, requests)) == pytest.approx(3.0, abs=0.2)


def test_many_products_are_tested_at_once() -> None:
    events = np.stack([np.full(20, RATE * REQUESTS), np.full(20, 3 * RATE * REQUESTS)], axis=1)
    steps = guard.observe(guard.quiet((2,)), events, np.full((20, 2), REQUESTS), NormalShare(np.full(2, 1.25 * RATE)))
    assert guard.fires(steps)[-1].tolist() == [False, True]


def test_wealth_comes_back_from_json() -> None:
    wealth = guard.observe(guard.quiet(), np.array([50.0]), np.array([REQUESTS]), REFERENCE)[-1]
    assert guard.from_json(guard.to_json(wealth)).tolist() == wealth.tolist()
    assert all(math.isfinite(value) for value in guard.to_json(guard.quiet()))


def test_the_threshold_is_one_false_alarm_a_year() -> None:
    assert guard.WEIGHTS.sum() == pytest.approx(1.0)
    assert math.exp(LOG_THRESHOLD) == pytest.approx(2 * 366 * 86_400 / BUCKET_SECONDS)
