"""Which fields matter to a version: the mean absolute impact, against the impacts themselves."""

from collections.abc import Callable

import numpy as np
import pytest

from registry.artifacts import ArtifactStore
from registry.importance import importance_of
from registry.model_version import ModelVersion
from runtime.postgres import Connection, connect
from scoring.reasons.explainers import Explainers
from scoring.reasons.importance import MAX_SAMPLED_ROWS, ImportanceJob
from tests.integration.scoring.reasons.conftest import Log
from tests.support.log_rows import wait_until
from tests.support.trained_models import SERVED_MODELS, Trained


@pytest.fixture
def job(artifacts: ArtifactStore) -> ImportanceJob:
    return ImportanceJob(Explainers(artifacts))


def test_importance_is_the_mean_absolute_impact_over_background_and_traffic(
    add_version: Callable[..., ModelVersion], log: Log, job: ImportanceJob, connection: Connection,
    artifacts: ArtifactStore, trained: Trained,
) -> None:  # fmt: skip
    version = add_version(reference=True)
    log(version, 40)
    assert job.run(connection) == 1
    found = importance_of(connection, version.model_id)
    explained = Explainers(artifacts).of(connection, version)
    traffic = [explained.feed.row(payload) for payload in trained.payloads[:40]]
    assert found.background is not None
    assert found.traffic is not None
    for importance, rows in ((found.background, explained.rows), (found.traffic, traffic)):
        expected = np.abs(explained.explainer.explain(rows, [""] * len(rows)).values).mean(axis=0)
        assert importance.rows == len(rows)
        given = {field.field: field.impact for field in importance.fields}
        assert given == pytest.approx(dict(zip(explained.names, expected.tolist(), strict=True)))
        sizes = [field.impact for field in importance.fields]
        assert sizes == sorted(sizes, reverse=True)
    assert job.run(connection) == 0


def test_few_events_are_measured_again_after_an_hour_and_many_after_a_day(
    add_version: Callable[..., ModelVersion], log: Log, job: ImportanceJob, connection: Connection
) -> None:
    log(add_version(reference=True), MAX_SAMPLED_ROWS - 1)
    assert job.run(connection) == 1
    connection.execute("UPDATE sira_model_importance SET computed_at = computed_at - interval '2 hours'")
    assert job.run(connection) == 1
    connection.execute("UPDATE sira_model_importance SET computed_at = computed_at - interval '2 hours', rows = 1000")
    assert job.run(connection) == 0
    connection.execute("UPDATE sira_model_importance SET computed_at = computed_at - interval '23 hours'")
    assert job.run(connection) == 1


def test_a_new_version_is_known_before_there_is_any_traffic(
    add_version: Callable[..., ModelVersion], job: ImportanceJob, connection: Connection
) -> None:
    version = add_version(reference=True)
    job.run(connection)
    found = importance_of(connection, version.model_id)
    assert found.background is not None
    assert found.traffic is None


def test_a_version_without_a_background_is_tried_again_later_and_holds_up_no_other(
    add_version: Callable[..., ModelVersion], log: Log, job: ImportanceJob, connection: Connection
) -> None:
    bare = add_version("1")
    assert job.run(connection) == 0
    log(bare, 250)
    assert job.run(connection) == 0
    job._retry_at.clear()
    assert job.run(connection) == 1


def test_one_controller_computes_at_a_time(
    add_version: Callable[..., ModelVersion], log: Log, job: ImportanceJob, connection: Connection, database_url: str
) -> None:
    log(add_version(reference=True), 5)
    with connect(database_url, name="other", autocommit=True) as other:
        assert other.execute("SELECT pg_try_advisory_lock(hashtext('sira_importance'))").fetchone() == (True,)
        assert job.run(connection) == 0
    # The server releases the lock a moment after the connection was closed.
    assert wait_until(lambda: job.run(connection) == 1)


def test_a_sampled_version_is_measured_on_fewer_events(
    add_version: Callable[..., ModelVersion], job: ImportanceJob, connection: Connection
) -> None:
    version = add_version(model=SERVED_MODELS["naive Bayes"](), reference=True)
    job.run(connection)
    found = importance_of(connection, version.model_id).background
    assert found is not None
    assert (found.method, found.rows) == ("sampled", MAX_SAMPLED_ROWS)


def test_before_the_migration_nothing_is_computed_and_nothing_is_known(
    add_version: Callable[..., ModelVersion], job: ImportanceJob, connection: Connection
) -> None:
    version = add_version(reference=True)
    connection.execute("DROP TABLE sira_model_importance, sira_prediction_reasons")
    assert job.run(connection) == 0
    assert importance_of(connection, version.model_id).background is None
