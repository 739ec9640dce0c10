"""An archived prediction is found by its id, as it was logged."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from archive.lookup import find_archived
from archive.parts.bucket import ArchiveBucket
from archive.parts.manifest import Folder
from archive.retention import drop_archived_days
from edge import api
from edge.control.app import control_app
from edge.control.routes import Resources
from registry.artifacts import open_backend, open_store
from runtime.auth import Authenticator, Role, mint_token
from runtime.postgres import Connection
from runtime.settings import Settings
from scoring.log.prediction import ControlledPrediction, Prediction
from tests.support.archived_log import days_ago, rows_of, run, ship_rows
from tests.support.asgi import Answered, request

OLD = days_ago(35)
PAYLOAD = '{"amount":1e-05,"note":"\\u001f \\\\ \\u65e5"}'


@pytest.fixture
def logged(connection: Connection) -> list[Prediction]:
    rows = rows_of(OLD, 300, payload=PAYLOAD) + rows_of(OLD, 20, prefix="w", product="wallets", routing_key="card")
    ship_rows(connection, rows)
    return rows


@pytest.fixture
def get(settings: Callable[..., Settings], database_url: str, model_bucket: str) -> Callable[[str], Answered]:
    read = settings(model_bucket=model_bucket)
    resources = Resources(database_url, open_store(model_bucket), archive_bucket=model_bucket)
    app = control_app(api.ROUTES, resources, Authenticator(read), lambda route, status: None)
    secret, now = read.jwt_secret.get_secret_value(), datetime.now(UTC)
    token = mint_token(secret, subject="ana", role=Role.auditor, now=now, lifetime=timedelta(hours=1))
    return lambda path: asyncio.run(request(app, "GET", path, headers={"authorization": f"Bearer {token}"}))


def test_every_prediction_of_a_part_is_found(
    connection: Connection, bucket: ArchiveBucket, logged: list[Prediction]
) -> None:
    run(connection, bucket)
    for row in logged[::40] + logged[-3:]:
        found = find_archived(connection, bucket, row.prediction_id)
        assert found is not None
        assert found.columns.pop("created_at").timestamp() == pytest.approx(row.created_at, abs=1e-6)
        assert found.columns == {name: getattr(row, name, None) for name in found.columns}
        assert found.columns.keys() == set(ControlledPrediction.__struct_fields__) - {"created_at"}


def test_an_id_that_is_not_there_is_not_found(
    connection: Connection, folder_bucket: ArchiveBucket, logged: list[Prediction]
) -> None:
    run(connection, folder_bucket)
    first = logged[0].prediction_id
    # The same prefix as a row that is there, and prefixes at both ends.
    for unknown in (first[:9] + str(uuid4())[9:], "0" * 8 + first[8:], "f" * 8 + first[8:], str(uuid4())):
        assert find_archived(connection, folder_bucket, unknown) is None
    assert find_archived(connection, folder_bucket, "not an id") is None


def test_ids_that_are_not_spread_evenly_are_found(connection: Connection, folder_bucket: ArchiveBucket) -> None:
    rows = [
        row
        for n in range(300)
        for row in rows_of(OLD, 1, prefix=f"{n}-", prediction_id=f"00000000-{n:04d}" + str(uuid4())[13:])
    ]
    ship_rows(connection, rows)
    run(connection, folder_bucket)
    assert find_archived(connection, folder_bucket, rows[299].prediction_id) is not None
    assert find_archived(connection, folder_bucket, "00000001" + rows[0].prediction_id[8:]) is None


def test_a_day_limits_the_search(
    connection: Connection, folder_bucket: ArchiveBucket, logged: list[Prediction]
) -> None:
    run(connection, folder_bucket)
    one = logged[0].prediction_id
    assert find_archived(connection, folder_bucket, one, OLD) is not None
    assert find_archived(connection, folder_bucket, one, days_ago(34)) is None


def test_the_route_shows_a_prediction_that_postgres_has_dropped(
    connection: Connection,
    bucket: ArchiveBucket,
    logged: list[Prediction],
    get: Callable[[str], Answered],
) -> None:
    path = f"/v1/predictions/{logged[5].prediction_id}"
    before = get(path)
    drop_archived_days(connection, bucket, retention_days=31)
    for target in (path, f"{path}?day={OLD}"):
        after = get(target)
        assert after.status == 200
        assert after.json() == before.json()
    assert PAYLOAD.encode() in after.body
    assert get(f"{path}?day={days_ago(34)}").status == 404
    assert get(f"/v1/predictions/{uuid4()}").status == 404
    assert get(f"{path}?day=yesterday").json()["errors"][0]["detail"] == "must be a day such as 2026-11-26"


def test_an_archive_that_cannot_be_read_is_503_and_not_404(
    connection: Connection, bucket: ArchiveBucket, get: Callable[[str], Answered], model_bucket: str, tmp_path: Path
) -> None:
    ship_rows(connection, rows_of(OLD, 3))
    run(connection, bucket)
    broken, backend = tmp_path / "broken", open_backend(model_bucket)
    broken.write_text("broken")
    backend.write(broken, backend.prefix + Folder("log", "cards", OLD).key("_manifest.json"), lambda sent: None)
    answered = get(f"/v1/predictions/{uuid4()}")
    assert answered.status == 503
    assert "archive" in json.loads(answered.body)["detail"]
