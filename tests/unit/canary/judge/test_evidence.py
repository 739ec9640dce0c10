from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.judge.evidence import (
    LAST_LATENCY_BIN,
    ArmBucket,
    Bucket,
    Paired,
    bucket_start,
    latency_bin,
    latency_edge,
    score_bin,
    sealed_before,
)

counts = st.integers(0, 1_000_000)
histograms = st.dictionaries(st.integers(0, 19), st.integers(1, 1000))
arms = st.builds(ArmBucket, counts, counts, counts, histograms, counts, counts, counts, histograms)
buckets = st.builds(Bucket, st.just(5), st.just(0), arms, arms, st.builds(Paired, counts, counts, counts, counts))


@given(buckets, buckets, buckets)
def test_evidence_merges_in_any_order_and_grouping(a: Bucket, b: Bucket, c: Bucket) -> None:
    assert (a + b) + c == (c + b) + a


@given(buckets)
def test_an_empty_bucket_changes_nothing(bucket: Bucket) -> None:
    assert bucket + Bucket(5, 0) == bucket


def test_buckets_of_different_times_or_phases_do_not_merge() -> None:
    with pytest.raises(ValueError, match="5/0 and 10/0 do not merge"):
        Bucket(5, 0) + Bucket(10, 0)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, 0),
        (0.001, 0),
        (0.00101, 1),
        (0.012, 124),
        (9.9, 457 - 1),
        (10.0, LAST_LATENCY_BIN),
        (3600.0, LAST_LATENCY_BIN),
    ],
)
def test_latency_bins_run_from_1_ms_to_10_s(seconds: float, expected: int) -> None:
    assert latency_bin(seconds) == expected


def test_a_factor_of_1_3_is_exactly_13_bins() -> None:
    assert {latency_bin(s * 1.3) - latency_bin(s) for s in (0.0015, 0.0123, 0.0271, 0.33, 4.4)} == {13}


@given(st.floats(0.0011, 9.9))
def test_a_latency_lies_between_the_edges_of_its_bin(seconds: float) -> None:
    bin_ = latency_bin(seconds)
    assert latency_edge(bin_ - 1) * (1 - 1e-12) <= seconds <= latency_edge(bin_) * (1 + 1e-12)


def test_the_last_bin_has_no_upper_edge() -> None:
    assert latency_edge(LAST_LATENCY_BIN) == inf


@pytest.mark.parametrize(("score", "expected"), [(0.0, 0), (0.05, 1), (nextafter(1.0, 0.0), 19), (1.0, 19)])
def test_scores_fall_in_twenty_bins_and_1_in_the_last(score: float, expected: int) -> None:
    assert score_bin(score) == expected


def test_a_bucket_is_sealed_five_seconds_after_its_end() -> None:
    assert bucket_start(1004.9) == 1000
    assert not sealed_before(1009.9) > 1000
    assert sealed_before(1010.0) > 1000
