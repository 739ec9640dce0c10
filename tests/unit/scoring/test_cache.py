from scoring.cache import ScoreCache

A, B = "a" * 64, "b" * 64


def test_a_score_is_found_under_its_artifact_and_row_alone() -> None:
    cache = ScoreCache(10)
    cache.put(A, (1.0, "x"), 0.25)
    assert cache.get(A, (1.0, "x")) == 0.25
    assert cache.get(B, (1.0, "x")) is None
    assert cache.get(A, (1.0, "y")) is None


def test_a_score_of_zero_is_found_too() -> None:
    cache = ScoreCache(1)
    cache.put(A, (), 0.0)
    assert cache.get(A, ()) == 0.0


def test_the_least_recently_used_leaves_when_the_cache_is_full() -> None:
    cache = ScoreCache(3)
    for n in range(3):
        cache.put(A, (n,), n / 10)
    cache.get(A, (0,))
    cache.put(A, (3,), 0.3)
    assert [cache.get(A, (n,)) for n in range(4)] == [0.0, None, 0.2, 0.3]


def test_it_never_holds_more_than_its_limit() -> None:
    cache = ScoreCache(100)
    for n in range(1_000):
        cache.put(A, (n,), 0.5)
    assert len(cache) == 100


def test_a_cache_of_none_keeps_nothing() -> None:
    cache = ScoreCache(0)
    cache.put(A, (1,), 0.5)
    assert (cache.get(A, (1,)), len(cache)) == (None, 0)
