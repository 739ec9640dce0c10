"""Cohorts are counted from the log and from labels, each event once, whatever the order in which they come."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, precision_score, recall_score

from canary.labels.weighting import label_weights
from monitoring.cohorts import counter, store
from monitoring.cohorts.counter import CohortCounter
from monitoring.cohorts.figures import brier_score, observed_quality
from monitoring.cohorts.layout import AGE_DAYS, SCORE_EDGES, Cohort, CohortTally, known
from registry.model_version import Status
from runtime.postgres import Connection, connect
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

    def ship(event_id: str, score: float | None, at: datetime = HOURS_AGO, **values: Any) -> Prediction:
        decision = None
        if score is not None:
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
    propensities = np.array([np.nan if propensity is None else propensity])
    assert found == (label_weights(np.array([decision == "block"]), propensities)[0],)


def test_a_label_that_changes_moves_and_does_not_count_twice(
    connection: Connection, log: Callable[..., Prediction], label: Callable[..., None], look: Callable[[], int]
) -> None:
    log("a", 0.95, NOW - timedelta(days=10), payload='{"amount":12.5}')
    label("a", "legitimate", NOW - timedelta(days=8))
    look()
    label("a", "fraud", NOW - timedelta(days=2), source="appeal")
    label("a", "fraud", NOW - timedelta(hours=1), source="police")  # says the same again: not known later for that
    look()
    assert counts(connection) == {"any": 1, "fraud": 1}
    (cohort,) = cohorts(connection)
    assert cohort.total(known) == CohortTally(1, 1, 1, 0.95, pytest.approx(0.9025), 12.5, 156.25)
    # Eight days after the event: before 14 days, the fifth age.
    assert {age: events for age, events in cohort.label_ages.items() if events} == {4: 1}


def test_the_canarys_answers_and_events_without_a_score_are_not_counted(
    connection: Connection, log: Callable[..., Prediction], label: Callable[..., None], look: Callable[[], int]
) -> None:
    log("canary", 0.95, variant="canary", arm="canary")
    log("failed", None, outcome="error")
    label("canary", "fraud")
    label("failed", "fraud")
    look()
    assert cohorts(connection) == []


def test_an_amount_that_is_not_a_number_or_absurd_counts_as_none(
    connection: Connection, log: Callable[..., Prediction], label: Callable[..., None], look: Callable[[], int]
) -> None:
    for number, payload in enumerate(('{"amount":"12"}', '{"amount":1e300}', '{"amount":null}', "{}")):
        log(f"e{number}", 0.95, payload=payload)
        label(f"e{number}", "fraud")
    look()
    (cohort,) = cohorts(connection)
    assert (cohort.total(known).events, cohort.total(known).amount) == (4, 0)


def test_a_day_that_has_left_the_log_keeps_what_was_counted(
    connection: Connection, log: Callable[..., Prediction], look: Callable[[], int]
) -> None:
    old = NOW - timedelta(days=35)
    log("a", 0.1, old)
    log("b", 0.1, old)
    look()
    connection.execute(f"DROP TABLE sira_predictions_{old:%Y%m%d}".encode())
    log("late", 0.1, old)
    CohortCounter().look(connection)
    assert counts(connection) == {"any": 2}


def test_an_hour_that_is_not_over_waits_while_it_has_many_events(
    connection: Connection, log: Callable[..., Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    log("a", 0.1, datetime.now(UTC))
    monkeypatch.setattr(counter, "MAX_OPEN_EVENTS", 0)
    CohortCounter().look(connection)
    assert counts(connection) == {}
    monkeypatch.setattr(counter, "MAX_OPEN_EVENTS", 1)
    CohortCounter().look(connection)
    assert counts(connection) == {"any": 1}


def test_only_one_controller_counts(
    connection: Connection, database_url: str, log: Callable[..., Prediction], look: Callable[[], int]
) -> None:
    log("a", 0.1)
    with connect(database_url, name="another") as another:
        assert store.lock_cohorts(another)
        assert look() == 0
    assert CohortCounter().look(connection) == 1


def test_many_hours_and_labels_are_counted_in_several_looks(
    connection: Connection,
    log: Callable[..., Prediction],
    label: Callable[..., None],
    look: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("MAX_HOURS", 2), ("MAX_LABELS", 1), ("MAX_SPANS", 2)):
        monkeypatch.setattr(counter, name, value)
    for number in range(5):
        log(f"e{number}", 0.95, HOURS_AGO - timedelta(hours=number))
        label(f"e{number}", "fraud")
    for _ in range(4):
        look()
    assert counts(connection) == {"any": 5, "fraud": 5}


def test_what_was_counted_long_ago_is_forgotten_and_its_cohort_stays(
    connection: Connection, log: Callable[..., Prediction], label: Callable[..., None], look: Callable[[], int]
) -> None:
    log("a", 0.95)
    label("a", "fraud")
    look()
    assert counter.drop_counted(connection) == 0
    connection.execute("UPDATE sira_cohort_hours SET hour = hour - interval '200 days'")
    connection.execute("UPDATE sira_cohort_labels SET day = day - 200")
    assert counter.drop_counted(connection) == 2
    assert counts(connection) == {"any": 1, "fraud": 1}


def test_an_event_of_the_control_group_stands_for_those_that_were_blocked(
    connection: Connection, log: Callable[..., Prediction], label: Callable[..., None], look: Callable[[], int]
) -> None:
    for event, decision, propensity in (
        ("through", "allow", 0.02),
        ("stopped", "block", 0.02),
        ("blind", "block", 0.0),
    ):
        row = log(event, 0.95, decision=decision)
        connection.execute(
            "UPDATE sira_predictions SET propensity = %s WHERE prediction_id = %s", (propensity, row.prediction_id)
        )
        label(event, "fraud")
    look()
    (cohort,) = cohorts(connection)
    found = cohort.total(known)
    assert (found.events, found.weight, found.weight_squares) == (3, 51, 2501)
    assert {place.decided for place in cohort.sums} == {"block"}


def test_figures_from_the_database_are_scikit_learns_from_the_rows(
    connection: Connection, database_url: str, model_id: str, look: Callable[[], int]
) -> None:
    rng = np.random.default_rng(59)
    scores = rng.beta(0.4, 1.2, 2_000)
    frauds, labelled = rng.random(2_000) < scores, rng.random(2_000) < 0.5
    decided = ["block" if s >= 0.9 else "review" if s >= 0.5 else "allow" for s in scores]
    at = (HOURS_AGO - timedelta(days=7)).timestamp()
    rows = [
        prediction(f"e{n}", model_id=model_id, score=float(s), decision=decided[n], created_at=at)
        for n, s in enumerate(scores)
    ]
    ship_rows(database_url, rows)
    known_rows = np.flatnonzero(labelled)
    connection.execute(
        "INSERT INTO sira_labels (product, event_id, label, source, labelled_at)"
        " SELECT 'cards', e, l, 'review', now() FROM unnest(%s::text[], %s::text[]) AS sent (e, l)",
        ([f"e{n}" for n in known_rows], ["fraud" if frauds[n] else "legitimate" for n in known_rows]),
    )
    look()
    (cohort,) = cohorts(connection)
    truth = frauds[labelled]
    row = connection.execute(
        "SELECT events, labelled, frauds, block_precision, block_recall, review_precision, review_recall, brier_score"
        " FROM v_model_cohorts"
    ).fetchone()
    assert row is not None
    assert row[:3] == (2_000, labelled.sum(), truth.sum())
    for place, limit, threshold in ((3, 0.9, "block"), (5, 0.5, "review")):
        guess = scores[labelled] >= limit
        expected = [precision_score(truth, guess), recall_score(truth, guess)]
        quality = observed_quality(cohort.sums, threshold)  # type: ignore[arg-type]
        assert [quality.precision.value, quality.recall.value] == pytest.approx(expected)
        assert [float(value) for value in row[place : place + 2]] == pytest.approx(expected, abs=1e-6)
    assert brier_score(cohort.sums) == pytest.approx(brier_score_loss(truth, scores[labelled]))
    assert float(row[7]) == pytest.approx(brier_score_loss(truth, scores[labelled]), abs=1e-8)
    tenths = connection.execute("SELECT mean_score, fraud_share FROM v_model_reliability ORDER BY tenth").fetchall()
    observed, predicted = calibration_curve(truth, scores[labelled], n_bins=10)
    assert [(float(s), float(f)) for s, f in tenths] == [
        (pytest.approx(p, abs=1e-6), pytest.approx(o, abs=1e-6)) for p, o in zip(predicted, observed, strict=True)
    ]
