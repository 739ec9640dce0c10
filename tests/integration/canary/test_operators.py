"""Rollouts as operators elsewhere have met them: two at once, almost no traffic, and a change to summer time."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from canary.rollout import operations, store
from canary.rollout.change import Change
from canary.rollout.next_action import bake_over
from canary.rollout.request import CanaryToStart
from registry.audit import history
from runtime.postgres import Connection, connect
from runtime.reading import read

if TYPE_CHECKING:
    from tests.integration.canary.conftest import Canary, Clock

# Clocks in Berlin go from 02:00 to 03:00.
SUMMER_TIME = datetime(2027, 3, 28, 1, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    del os.environ["TZ"]
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def at_once(database_url: str, *acts: str, canary: "Canary") -> list[str]:
    """Let an operator each do one of these in the same moment; return what became of it."""
    barrier, results = threading.Barrier(len(acts)), [""] * len(acts)

    def act(place: int, name: str) -> None:
        try:
            with connect(database_url, name=f"operator-{place}") as connection:
                barrier.wait()
                if name == "start":
                    ids = {"product": canary.product, "canary_model_id": canary.canary.model_id}
                    request = read(CanaryToStart, {**ids, "canary_percent": 10 + place})
                    operations.start_or_change(connection, request, actor=f"ops_{place}")
                else:
                    getattr(operations, name)(connection, canary.product, Change(f"ops_{place}", "at once"))
            results[place] = "done"
        except operations.CanaryError as error:
            results[place] = type(error).__name__

    threads = [threading.Thread(target=act, args=(place, name)) for place, name in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_two_operators_who_start_at_once_have_one_rollout(
    canary: "Canary", connection: Connection, database_url: str
) -> None:
    assert "done" in at_once(database_url, "start", "start", canary=canary)
    (rollout,) = store.all_rollouts(connection, product=canary.product, limit=10)
    assert rollout.status == "running"
    assert rollout.canary_percent in (10, 11)


@pytest.mark.parametrize("other", ["stop", "pause", "next_step"])
def test_a_stop_beside_anything_else_ends_the_rollout_and_both_are_audited(
    canary: "Canary", connection: Connection, database_url: str, other: str
) -> None:
    canary.start()
    found = at_once(database_url, "stop", other, canary=canary)
    assert found[0] == "done"
    assert canary.now().status == "stopped"
    assert canary.now().canary_percent == 0
    actors = {row.actor for row in history(connection, subject=canary.now().rollout_id)}
    assert "ops_0" in actors or "ops_1" in actors


def test_a_request_a_minute_neither_advances_nor_rolls_back(canary: "Canary", clock: "Clock") -> None:
    canary.start(50, plan={"steps": [{"percent": 50, "bake_seconds": 60}, {"percent": 100}]})
    for minute in range(20):
        arm = ("production", "canary")[minute % 2]
        canary._count(canary.now(), int(clock.now) // 5 * 5, arm, 1, type("Slow", (), {"errors": 0.0, "seconds": 0.01}))
        clock.wait(60)
        canary.tick()
    assert (canary.now().status, canary.now().canary_percent) == ("running", 50)
    unknown = {m.name for m in canary.verdict().measurements if m.outcome == "unknown"}
    assert "error_go" in unknown


@pytest.mark.usefixtures("berlin")
def test_a_step_over_the_change_to_summer_time_bakes_as_long_as_its_plan_says(
    canary: "Canary", connection: Connection
) -> None:
    canary.start(50, plan={"steps": [{"percent": 50, "bake_seconds": 600}, {"percent": 100, "bake_seconds": 600}]})
    connection.execute("SET timezone = 'Europe/Berlin'")
    connection.execute("UPDATE sira_canary_config SET step_started_at = to_timestamp(%s)", (SUMMER_TIME - 300,))
    position = canary.now().position()
    assert [bake_over(position, SUMMER_TIME + seconds) for seconds in (-1, 1, 299, 301)] == [False, False, False, True]
