"""The watch counts what production decides, and remembers its guard in Postgres."""

from collections.abc import Callable

import pytest

from monitoring import store
from monitoring.watch import Watch, since
from runtime import metrics
from runtime.postgres import Connection, connect

Answer = Callable[..., None]


def look_later(connection: Connection, watch: Watch) -> int:
    """Look as if ten seconds had passed since the last time."""
    connection.execute("UPDATE sira_production_guard SET counted_at = counted_at - interval '10 s'")
    return watch.look(connection)


def firing(connection: Connection) -> bool:
    row = connection.execute("SELECT block_share_jumped FROM v_production_guard WHERE product = 'cards'").fetchone()
    assert row is not None
    return bool(row[0])


@pytest.mark.usefixtures("history")
def test_blocks_that_triple_fire_and_end(connection: Connection, answer: Answer) -> None:
    watch = Watch()
    answer(1_000, 10)
    watch.look(connection)
    for _ in range(10):
        answer(1_940, 60)
        look_later(connection, watch)
    assert firing(connection)
    assert metrics.decision_guard.labels("cards", "block")._value.get() == 1
    for _ in range(12):
        answer(1_980, 20)
        look_later(connection, watch)
    assert not firing(connection)
    assert metrics.decision_guard.labels("cards", "block")._value.get() == 0


@pytest.mark.usefixtures("history")
def test_a_normal_share_and_a_canarys_blocks_stay_silent(connection: Connection, answer: Answer) -> None:
    watch = Watch()
    watch.look(connection)
    answer(1_000, 10)
    watch.look(connection)
    for _ in range(20):
        answer(1_980, 20)
        answer(0, 500, variant="canary")
        look_later(connection, watch)
    assert not firing(connection)


def test_without_history_it_says_that_it_is_not_ready(connection: Connection, answer: Answer) -> None:
    watch = Watch()
    answer(10, 10)
    watch.look(connection)
    answer(0, 5_000)
    look_later(connection, watch)
    assert not firing(connection)
    assert metrics.guard_ready.labels("cards")._value.get() == 0


@pytest.mark.usefixtures("history")
def test_two_controllers_count_each_event_once(connection: Connection, answer: Answer) -> None:
    first, second = Watch(), Watch()
    answer(100)
    first.look(connection)
    answer(900, 9)
    look_later(connection, first)
    second.look(connection)
    row = connection.execute("SELECT sum(requests), sum(blocked) FROM sira_production_decisions").fetchone()
    assert row == (909, 9)


@pytest.mark.usefixtures("history")
def test_a_successor_continues_from_the_stored_state(connection: Connection, answer: Answer) -> None:
    answer(100)
    Watch().look(connection)
    for _ in range(8):
        answer(1_940, 60)
        look_later(connection, Watch())
    assert firing(connection)


def test_a_database_without_the_migration_is_left_alone(empty_database_url: str) -> None:
    with connect(empty_database_url, name="tests", autocommit=True) as connection:
        assert Watch().look(connection) == 0


def test_old_decisions_are_deleted(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO sira_production_decisions"
        " VALUES ('cards', now() - interval '3 days', 1, 0, 0), ('cards', now(), 1, 0, 0)"
    )
    assert store.drop_decisions(connection) == 1


def test_a_new_hour_counts_whole() -> None:
    assert since({"a": (10, 1, 1), "b": (5, 0, 2)}, {"a": [8, 1, 0]}) == (7, 0, 3)
