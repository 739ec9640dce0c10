"""The overview over a real database."""

from datetime import UTC, datetime
from typing import Any

from console.overview.traffic import read_traffic
from console.pages import Kept
from runtime.auth import Role
from runtime.postgres import Connection
from tests.support.counting import counted

# Stated in docs/console.md.
MAX_STATEMENTS = 12


def add_product(connection: Connection, product: str, status: str = "production") -> None:
    connection.execute(
        "INSERT INTO siramodel_registry (product, name, version, status, storage_s3_key, sha256, size_bytes,"
        " signature, thresholds) VALUES (%s, 'gbm', '7', %s, 'key', repeat('a', 64), 1, '{}', %s)",
        (product, status, '{"review": 0.5, "block": 0.9}'),
    )


def add_traffic(connection: Connection, product: str) -> None:
    connection.execute(
        "INSERT INTO sira_production_errors (product, bucket_start, half, requests, errors, latency)"
        " SELECT %s, date_bin('30 s', now(), 'epoch') - s * interval '30 s', 0, 300, 3, '{\"60\": 300}'"
        " FROM generate_series(1, 120) AS s",
        (product,),
    )
    connection.execute(
        "INSERT INTO sira_prediction_hours (hour, product, model_id, variant, decision, outcome, predictions)"
        " SELECT date_trunc('hour', now()), %s, gen_random_uuid(), 'production', decision, 'ok', n"
        " FROM (VALUES ('allow', 970), ('review', 20), ('block', 10)) AS v (decision, n)",
        (product,),
    )


def test_an_empty_registry_says_how_to_begin(desk: Any) -> None:
    page = desk.get("/console").body.decode()
    assert "No model is registered yet" in page
    assert "no controller has judged yet" in page


def test_a_product_shows_its_version_and_its_last_hour(desk: Any, connection: Connection) -> None:
    add_product(connection, "cards")
    add_traffic(connection, "cards")
    page = " ".join(desk.get("/console", Role.viewer).body.decode().split())
    assert "gbm <strong>7</strong>" in page
    assert "<dt>requests/s</dt><dd>10.0</dd>" in page
    assert "<dt>errors</dt><dd>1.00 %</dd>" in page
    assert "allow <span>97.00 %</span>" in page
    assert "No canary is running." in page


def test_the_histogram_of_an_older_cell_is_read_again_only_if_it_has_got_more_requests(connection: Connection) -> None:
    add_traffic(connection, "cards")
    at, kept = datetime.now(UTC), Kept().slowness
    before = read_traffic(connection, at, kept)["cards"]
    older = "bucket_start < now() - interval '10 min'"
    connection.execute(f"UPDATE sira_production_errors SET latency = '{{\"90\": 300}}' WHERE {older}".encode())
    same = read_traffic(connection, at, kept)["cards"]
    assert [cell.p95 for cell in same.course(at)] == [cell.p95 for cell in before.course(at)]
    connection.execute(f"UPDATE sira_production_errors SET requests = 301 WHERE {older}".encode())
    changed = read_traffic(connection, at, kept)["cards"]
    assert changed.course(at)[0].p95 != before.course(at)[0].p95
    assert changed.course(at)[-1].p95 == before.course(at)[-1].p95


def test_a_product_without_production_is_wrong(desk: Any, connection: Connection) -> None:
    add_product(connection, "cards", "staging")
    assert "SiraNoProductionModel" in desk.get("/console").body.decode()


def test_the_number_of_statements_does_not_grow_with_the_products(desk: Any, connection: Connection) -> None:
    with counted(desk.resources) as statements:
        desk.get("/console")
        few = len(statements)
    for number in range(30):
        add_product(connection, f"p{number}")
        add_traffic(connection, f"p{number}")
    with counted(desk.resources) as statements:
        desk.get("/console")
        assert few == len(statements) <= MAX_STATEMENTS


def test_it_works_on_a_database_without_the_guard(desk: Any, connection: Connection) -> None:
    connection.execute("DROP VIEW v_production_guard")
    connection.execute("DROP TABLE sira_production_guard")
    assert desk.get("/console").status == 200


def test_a_database_that_cannot_be_reached_is_a_page_that_says_so(desk: Any, connection: Connection) -> None:
    connection.execute("ALTER TABLE siramodel_registry RENAME TO away")
    answered = desk.get("/console")
    assert answered.status == 503
    assert "cannot be reached" in answered.body.decode()
