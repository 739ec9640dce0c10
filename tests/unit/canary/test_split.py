from hypothesis import given
from hypothesis import strategies as st

from canary.split import Split, choose_arm, position

SALT = bytes(range(16))


def split(percent: float, salt: bytes = SALT) -> Split:
    return Split("r1", salt, percent)


def test_positions_are_the_same_in_every_process_and_release() -> None:
    assert [position(SALT, key) for key in ("card-1", "card-2")] == [0.6172447389960907, 0.7886767026309546]


@given(st.text(), st.floats(0, 100), st.floats(0, 100))
def test_a_raised_percentage_never_moves_a_key_back_to_production(key: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert choose_arm(split(low), key) == "production" or choose_arm(split(high), key) == "canary"


@given(st.text())
def test_at_0_percent_no_key_and_at_100_percent_every_key_gets_the_canary(key: str) -> None:
    assert choose_arm(split(0.0), key) == "production"
    assert choose_arm(split(100.0), key) == "canary"


def test_the_share_of_keys_is_the_percentage() -> None:
    canary = sum(choose_arm(split(10.0), f"card-{i}") == "canary" for i in range(100_000))
    assert abs(canary - 10_000) < 400  # four standard deviations


def test_another_salt_selects_another_tenth_of_the_keys() -> None:
    both = sum(
        choose_arm(split(10.0), key) == choose_arm(split(10.0, b"another"), key) == "canary"
        for key in (f"card-{i}" for i in range(100_000))
    )
    assert abs(both - 1_000) < 150


def test_a_key_with_a_lone_surrogate_is_routed() -> None:
    assert choose_arm(split(100.0), "\ud800") == "canary"
