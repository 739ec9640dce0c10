"""Cohorts are counted from the log and from labels, each event once, whatever the order in which they come."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from canary.labels.weighting import label_weights
from monitoring.cohorts import store
from monitoring.cohorts.counter import CohortCounter
from monitoring.cohorts.layout import AGE_DAYS, SCORE_EDGES, Cohort, CohortTally
from registry.model_version import Status
from runtime.postgres import Connection
from scoring.log.prediction import Prediction, with_propensity
from tests.support.log_rows import prediction, ship_rows
from tests.support.rollouts import add_version

NOW = datetime.now(UTC)
HOURS_AGO = NOW - timedelta(hours=5)


@pytest.fixture
def model_id(connection: Connection) -> str:
    connection.execute("SELECT sira_make_partitions((now() - interval '40 days')::date, current_date + 1)")
    return add_version(connection, "cards", "1", Status.PRODUCTION).model_id


@pytest.fixture
def log(database_url: str, model_id: str) -> Callable[..., Prediction]:
    """`log("e1", 0.95, at)` ships an event that the version answered as its thresholds say."""

    def ship(event_id: str, score: float, at: datetime = HOURS_AGO, **values: Any) -> Prediction:
        decision = "block" if score >= 0.9 else "review" if score >= 0.5 else "allow"
        row = prediction(
            event_id,
            **{"model_id": model_id, "score": score, "decision": decision, "created_at": at.timestamp()} | values,
        )
        ship_rows(database_url, [row])
        return row

    return ship


@pytest.fixture
def label(connection: Connection) -> Callable[..., None]:
    """`label("e1", "fraud", at)` adds a label that its source gave at that time."""

    def add(event_id: str, kind: str, at: datetime = NOW, source: str = "chargeback") -> None:
        connection.execute(
            "INSERT INTO sira_labels (product, event_id, label, source, labelled_at) VALUES ('cards', %s, %s, %s, %s)",
            (event_id, kind, source, at),
        )

    return add


@pytest.fixture
def look(connection: Connection) -> Callable[[], int]:
    counting = CohortCounter()
    return lambda: counting.look(connection)


def cohorts(connection: Connection) -> list[Cohort]:
    return store.cohorts(connection, "cards", date(2000, 1, 1))


def counts(connection: Connection) -> dict[str, int]:
    """Events by label, over all cohorts."""
    found: dict[str, int] = {}
    for cohort in cohorts(connection):
        for place, tally in cohort.sums.items():
            found[place.label] = found.get(place.label, 0) + tally.events
    return found


def test_without_events_there_is_no_cohort(connection: Connection, look: Callable[[], int]) -> None:
    assert look() == 0
    assert cohorts(connection) == []


def test_the_database_and_the_code_have_the_same_bins(connection: Connection) -> None:
    assert connection.execute("SELECT sira_score_edges()").fetchone() == (list(SCORE_EDGES[1:]),)
    edges = [edge for lower in SCORE_EDGES for edge in (lower, np.nextafter(lower, 1.0))]
    rows = connection.execute("SELECT sira_score_bin(s) FROM unnest(%s::float8[]) AS s", ([*edges, 1.0],)).fetchall()
    expected = [place for place in range(len(SCORE_EDGES)) for _ in range(2)] + [len(SCORE_EDGES) - 1]
    assert [bin_ for (bin_,) in rows] == expected
    for place, days in enumerate(AGE_DAYS):
        for seconds, bin_ in ((-1, place), (0, place + 1)):
            row = connection.execute("SELECT sira_label_age(%s)", (timedelta(days=days, seconds=seconds),)).fetchone()
            assert row == (bin_,)


def test_events_count_once_however_often_one_looks(
    connection: Connection, log: Callable[..., Prediction], look: Callable[[], int]
) -> None:
    log("a", 0.1)
    log("b", 0.95)
    for _ in range(3):
        look()
    (cohort,) = cohorts(connection)
    assert counts(connection) == {"any": 2}
    assert cohort.week == (HOURS_AGO - timedelta(days=HOURS_AGO.weekday())).date()
    assert cohort.total(lambda place: place.decided == "block") == CohortTally(
        1, 1, 1, 0.95, pytest.approx(0.9025), 0, 0
    )


def test_an_hour_that_grows_adds_only_what_is_new(
    connection: Connection, log: Callable[..., Prediction], look: Callable[[], int]
) -> None:
    log("a", 0.1)
    look()
    log("b", 0.1)
    CohortCounter().look(connection)
    assert counts(connection) == {"any": 2}


def test_a_label_counts_after_its_event_and_before_it(
    connection: Connection, log: Callable[..., Prediction], label: Callable[..., None], look: Callable[[], int]
) -> None:
    log("first", 0.95)
    look()
    label("first", "fraud")
    label("later", "legitimate")
    look()
    assert counts(connection) == {"any": 1, "fraud": 1}
    log("later", 0.95)
    CohortCounter().look(connection)
    assert counts(connection) == {"any": 2, "fraud": 1, "legitimate": 1}


@pytest.mark.parametrize("propensity", [None, 0.0, 0.05])
@pytest.mark.parametrize("decision", ["block", "review"])
def test_an_event_of_the_control_group_has_the_weight_that_the_code_gives_it(
    connection: Connection, database_url: str, model_id: str, decision: str, propensity: float | None
) -> None:
    row = prediction("e", model_id=model_id, score=0.95, decision=decision)
    ship_rows(database_url, [row if propensity is None else with_propensity(row, propensity)])
    found = connection.execute("SELECT weight FROM v_cohort_events").fetchone()
    known = np.array([np.nan if propensity is None else propensity])
    assert found == (label_weights(np.array([decision == "block"]), known)[0],)
