import math

from scoring.cache import ScoreCache, cache_key

A, B = b"a" * 64, b"b" * 64


def test_a_score_is_found_under_its_artifact_and_row_alone() -> None:
    cache = ScoreCache(10)
    cache.put(cache_key(A, (1.0, "x")), 0.25)
    assert cache.get(cache_key(A, (1.0, "x"))) == 0.25
    assert cache.get(cache_key(B, (1.0, "x"))) is None
    assert cache.get(cache_key(A, (1.0, "y"))) is None


def test_a_score_of_zero_is_found_too() -> None:
    cache = ScoreCache(1)
    cache.put(cache_key(A, ()), 0.0)
    assert cache.get(cache_key(A, ())) == 0.0


def test_the_least_recently_used_leaves_when_the_cache_is_full() -> None:
    cache = ScoreCache(3)
    for n in range(3):
        cache.put(cache_key(A, (n,)), n / 10)
    cache.get(cache_key(A, (0,)))
    cache.put(cache_key(A, (3,)), 0.3)
    assert [cache.get(cache_key(A, (n,))) for n in range(4)] == [0.0, None, 0.2, 0.3]


def test_it_never_holds_more_than_its_limit() -> None:
    cache = ScoreCache(100)
    for n in range(1_000):
        cache.put(cache_key(A, (n,)), 0.5)
    assert len(cache) == 100


def test_a_cache_of_none_keeps_nothing() -> None:
    cache = ScoreCache(0)
    cache.put(cache_key(A, (1,)), 0.5)
    assert (cache.get(cache_key(A, (1,))), len(cache)) == (None, 0)


def test_rows_of_one_value_but_two_types_are_two_rows() -> None:
    assert len({cache_key(A, (one,)) for one in (1, 1.0, True, "1")}) == 4


def test_equal_rows_have_one_key_whoever_made_their_values() -> None:
    assert cache_key(A, ("ab", 0.5, math.nan)) == cache_key(A, ("".join("ab"), float("0.5"), float("nan")))
