"""The control group between Postgres and the workers: settings, slots of a day, and rows with a propensity."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from runtime.postgres import Connection, connect
from scoring.control_group import RunningControlGroup
from scoring.log.prediction import copy_text, with_propensity
from scoring.log.store import prepare_shipping, ship
from scoring.models.control_slots import ControlSlots
from scoring.models.store import control_groups, return_slots, take_slots
from tests.support.log_rows import prediction

Group = Callable[..., RunningControlGroup]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


@pytest.fixture
def group(connection: Connection) -> Group:
    """Switch the group of `cards` on with a daily limit, or off; return what a worker reads."""

    def switch(max_per_day: int = 10, *, enabled: bool = True) -> RunningControlGroup:
        connection.execute(
            "INSERT INTO sira_control_group (product, enabled, share, answer, max_per_day, max_amount, amount_field,"
            " seed) VALUES ('cards', %s, 0.05, 'review', %s, 100, 'amount', '0123456789abcdef')"
            " ON CONFLICT (product) DO UPDATE SET enabled = excluded.enabled, max_per_day = excluded.max_per_day",
            (enabled, max_per_day),
        )
        return RunningControlGroup("cards", 0.05, "review", max_per_day, 100.0, "amount", b"0123456789abcdef")

    return switch


def today() -> date:
    """Return the day now: the tests of a run may begin before midnight and end after it."""
    return datetime.now(UTC).date()


def taken(connection: Connection) -> int:
    row = connection.execute("SELECT taken FROM sira_control_slots WHERE day = %s", (today(),)).fetchone()
    return row[0] if row else 0


def test_a_worker_reads_the_groups_that_are_on(connection: Connection, group: Group) -> None:
    assert control_groups(connection) == ()
    group(enabled=False)
    assert control_groups(connection) == ()
    expected = group(7)
    assert control_groups(connection) == (expected,)
    connection.execute("DROP TABLE sira_control_group")
    assert control_groups(connection) == ()


def test_at_most_the_day_s_limit_is_taken_and_what_is_given_back_can_be_taken_again(
    connection: Connection, group: Group
) -> None:
    group(5)
    assert [take_slots(connection, "cards", today(), 2) for _ in range(4)] == [2, 2, 1, 0]
    return_slots(connection, "cards", today(), 1)
    assert take_slots(connection, "cards", today(), 2) == 1
    assert take_slots(connection, "cards", today() + timedelta(days=1), 2) == 2
    group(5, enabled=False)
    assert take_slots(connection, "cards", today() + timedelta(days=2), 1) == 0
    assert take_slots(connection, "other", today(), 1) == 0


def test_many_workers_at_once_never_pass_the_limit(connection: Connection, database_url: str, group: Group) -> None:
    limit, workers = 37, 8
    running = group(limit)
    used = []

    def work() -> None:
        slots = ControlSlots()
        held = slots.served([running])["cards"].slots
        with connect(database_url, name="tests", autocommit=True) as own:
            for number in range(20):
                slots.refill(own)
                if held.left(today()):
                    held.use(f"{threading.get_ident()} {number}")
                    used.append(number)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(used) == taken(connection) == limit


def test_a_worker_takes_new_slots_only_when_it_has_none_and_gives_back_what_is_left(
    connection: Connection, group: Group
) -> None:
    slots = ControlSlots()
    held = slots.served([group(200)])["cards"].slots
    for _ in range(3):
        slots.refill(connection)
    assert (held.left(today()), taken(connection)) == (4, 4)
    held.use("e")
    slots.give_back(connection)
    assert taken(connection) == 1
    slots.refill(connection)
    assert taken(connection) == 5


def test_a_raised_limit_is_noticed_at_once(connection: Connection, group: Group) -> None:
    slots = ControlSlots()
    held = slots.served([group(1)])["cards"].slots
    slots.refill(connection)
    held.use("e")
    slots.refill(connection)
    assert held.left(today()) == 0
    assert slots.served([group(2)])["cards"].slots is held
    slots.refill(connection)
    assert held.left(today()) == 1


def rows() -> list[bytes]:
    block = prediction("blocked", score=0.95, decision="block")
    passed = prediction("passed", score=0.95, decision="review")
    large = prediction("large", score=0.95, decision="block")
    return [copy_text([with_propensity(block, 0.05), with_propensity(passed, 0.05), with_propensity(large, 0.0)])]


def ship_all(connection: Connection) -> None:
    with connection.transaction():
        ship(connection, {"predictions": [copy_text([prediction("plain")])], "controlled": rows()})


def test_rows_with_a_propensity_are_logged_once_and_counted_by_day(connection: Connection) -> None:
    prepare_shipping(connection)
    ship_all(connection)
    ship_all(connection)
    found = connection.execute("SELECT event_id, decision, propensity FROM sira_predictions ORDER BY 1").fetchall()
    assert found == [
        ("blocked", "block", 0.05),
        ("large", "block", 0.0),
        ("passed", "review", 0.05),
        ("plain", "allow", None),
    ]
    decided = connection.execute("SELECT p.decision_model FROM sira_predictions p WHERE event_id = 'passed'")
    assert decided.fetchone() == ("block",)
    counted = connection.execute("SELECT product, would_block, eligible, let_through, blind FROM v_control_days")
    assert counted.fetchall() == [("cards", 3, 2, 1, 1)]
    hours = connection.execute("SELECT sum(predictions)::int FROM sira_prediction_hours").fetchone()
    assert hours == (4,)


def test_before_the_migration_rows_are_kept_without_their_propensity(connection: Connection) -> None:
    connection.execute("ALTER TABLE sira_predictions DROP COLUMN propensity CASCADE")
    connection.execute("DROP TABLE sira_control_days CASCADE")
    prepare_shipping(connection)
    ship_all(connection)
    assert connection.execute("SELECT count(*) FROM sira_predictions").fetchone() == (4,)
