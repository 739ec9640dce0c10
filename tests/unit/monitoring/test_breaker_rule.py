from datetime import UTC, datetime, timedelta

import pytest

from monitoring.breaker.rule import Breaker, after_look, as_set

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ON = Breaker("cards", enabled=True)


def tripped() -> Breaker:
    return after_look(ON, firing=True, share=0.3, now=NOW)


@pytest.mark.parametrize(
    ("breaker", "firing", "share", "trips"),
    [
        (ON, True, 0.0501, True),
        (ON, True, 0.05, False),
        (ON, True, 0.0, False),
        (ON, False, 1.0, False),
        (Breaker("cards"), True, 1.0, False),
    ],
)
def test_it_trips_only_if_enabled_while_the_guard_fires_and_the_share_is_above_the_limit(
    breaker: Breaker, firing: bool, share: float, trips: bool
) -> None:
    after = after_look(breaker, firing=firing, share=share, now=NOW)
    assert (after.tripped_at, after.tripped_share) == ((NOW, share) if trips else (None, None))


def test_it_stays_tripped_while_the_guard_fires_whatever_the_share_is() -> None:
    later = NOW + timedelta(days=1)
    assert after_look(tripped(), firing=True, share=0.0, now=later) == tripped()


def test_it_is_lifted_once_the_guard_has_been_quiet_for_the_set_time_without_a_break() -> None:
    quiet = after_look(tripped(), firing=False, share=0.01, now=NOW + timedelta(seconds=100))
    assert quiet.quiet_since == NOW + timedelta(seconds=100)
    assert after_look(quiet, firing=False, share=0.01, now=NOW + timedelta(seconds=999)) == quiet
    assert after_look(quiet, firing=False, share=0.01, now=NOW + timedelta(seconds=1000)) == ON
    assert after_look(quiet, firing=True, share=0.01, now=NOW + timedelta(seconds=500)).quiet_since is None


def test_an_operator_lifts_it_by_disabling_it_and_by_a_limit_above_its_share() -> None:
    assert as_set(tripped(), enabled=False) == Breaker("cards")
    assert as_set(tripped(), enabled=True, max_block_share=0.3) == Breaker("cards", enabled=True, max_block_share=0.3)
    assert as_set(tripped(), enabled=True, max_block_share=0.2).tripped_at == NOW


def test_what_an_operator_leaves_out_stays_as_it_is() -> None:
    first = as_set(Breaker("cards"), enabled=True, max_block_share=0.2, quiet_seconds=60)
    assert as_set(first, enabled=True) == first
