"""The controller's job publishes the figures of each product's production version, and no others."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from monitoring.cohorts import job
from monitoring.cohorts.job import CohortJob
from monitoring.cohorts.reading import read_performance
from registry.model_version import ModelVersion, Status
from registry.store import change_status
from runtime import metrics
from runtime.postgres import Connection
from tests.support.log_rows import prediction, ship_rows
from tests.support.rollouts import add_version

PRODUCT = "published"
# Long enough ago that the week has matured, and the Wednesday of the last week.
OLD = datetime.now(UTC) - timedelta(days=45)
LAST_WEEK = datetime.now(UTC) - timedelta(days=datetime.now(UTC).weekday() + 5)


@pytest.fixture
def version(connection: Connection, database_url: str) -> ModelVersion:
    """A version with two frauds in a matured week, of which it blocked one, and an unlabelled block last week."""
    for gauge in (metrics.cohort_recall, metrics.cohort_precision, metrics.cohort_label_share):
        gauge.clear()
    connection.execute("SELECT sira_make_partitions(%s::date, current_date)", (OLD,))
    made = add_version(connection, PRODUCT, "7", Status.PRODUCTION)
    rows = [("a", 0.95, "block", OLD), ("b", 0.1, "allow", OLD), ("c", 0.5, "review", OLD)]
    rows.append(("d", 0.95, "block", LAST_WEEK))
    ship_rows(
        database_url,
        [
            prediction(e, product=PRODUCT, model_id=made.model_id, score=s, decision=d, created_at=at.timestamp())
            for e, s, d, at in rows
        ],
    )
    connection.execute(
        "INSERT INTO sira_labels (product, event_id, label, source, labelled_at)"
        " SELECT %s, e, 'fraud', 'review', now() FROM unnest(ARRAY['a', 'b']) AS e",
        (PRODUCT,),
    )
    return made


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"product": PRODUCT, "version": "7", **labels})


def test_observed_figures_are_of_a_matured_week_and_estimates_of_the_last(
    connection: Connection, version: ModelVersion
) -> None:
    CohortJob(maturity_days=30).look(connection)
    assert sample("sira_cohort_recall", threshold="block", kind="observed") == 0.5
    assert sample("sira_cohort_precision", threshold="block", kind="observed") == 1
    assert sample("sira_cohort_precision", threshold="block", kind="estimated") == pytest.approx(0.95)
    assert sample("sira_cohort_label_share") == pytest.approx(2 / 3)


def test_without_a_matured_week_nothing_is_observed(connection: Connection, version: ModelVersion) -> None:
    CohortJob(maturity_days=200).look(connection)
    assert sample("sira_cohort_recall", threshold="block", kind="estimated") is not None
    assert sample("sira_cohort_recall", threshold="block", kind="observed") is None


def test_a_version_that_left_production_is_no_longer_published(
    connection: Connection, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "LOOKS_PER_PUBLISHING", 1)
    publishing = CohortJob(maturity_days=30)
    publishing.look(connection)
    other = add_version(connection, PRODUCT, "8")
    with connection.transaction():
        change_status(connection, other.model_id, Status.PRODUCTION, actor="tests")
    publishing.look(connection)
    assert sample("sira_cohort_recall", threshold="block", kind="observed") is None
    assert sample("sira_cohort_label_share") is None


def test_a_cohort_is_estimated_without_its_own_labels(
    connection: Connection, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.cohorts.estimate.MIN_LABELLED", 1)
    monkeypatch.setattr("monitoring.cohorts.estimate.MIN_FRAUDS", 1)
    CohortJob(maturity_days=30).look(connection)
    found = read_performance(connection, version, maturity_days=30)
    assert found is not None
    assert [(cohort.matured, cohort.calibration) for cohort in found.cohorts] == [(False, "isotonic"), (True, "raw")]


def test_before_its_migration_nothing_is_counted_or_read(connection: Connection, version: ModelVersion) -> None:
    connection.execute("DROP TABLE sira_cohort_sums CASCADE")
    assert CohortJob(maturity_days=30).look(connection) == 0
    assert read_performance(connection, version, maturity_days=30) is None
