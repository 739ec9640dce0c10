"""The log that the benchmarks generate holds what shipping the same rows would have left."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from lab.benchmarks.scale.generated_log import ROLLOUT_DAYS, GeneratedLog, begin
from lab.demo.transactions import transactions
from lab.postgres import LocalPostgres
from runtime.postgres import Connection, connect
from scoring.log.frame import Target
from scoring.log.prediction import PairedPrediction, Prediction
from scoring.log.store import find_prediction, prepare_shipping, ship
from tests.support.table_model import table_model, version_of

DAYS, ROWS_PER_DAY = ROLLOUT_DAYS + 1, 400
SUMS = (
    "SELECT * FROM sira_prediction_hours ORDER BY 1, 2, 3, 4, 5, 6",
    "SELECT * FROM sira_canary_evidence ORDER BY 1, 2, 3, 4",
    "SELECT * FROM sira_canary_paired_evidence ORDER BY 1, 2, 3",
)


@pytest.fixture(scope="module")
def databases(postgres: LocalPostgres) -> Iterator[tuple[Connection, Connection]]:
    """Two that are migrated and empty."""
    names = [f"test_{uuid4().hex}" for _ in range(2)]
    urls = [postgres.create_database(name, template="sira_template") for name in names]
    with (
        connect(urls[0], name="tests", autocommit=True) as one,
        connect(urls[1], name="tests", autocommit=True) as other,
    ):
        yield one, other
    for name in names:
        postgres.drop_database(name)


@pytest.fixture(scope="module")
def log(databases: tuple[Connection, Connection]) -> GeneratedLog:
    payloads = tuple(transactions(1_000, seed=3).payloads())
    filled = begin(databases[0], version_of(table_model((0.1,))), payloads, rows_per_day=ROWS_PER_DAY)
    assert list(filled.days(DAYS)) == list(range(1, DAYS + 1))
    return filled


def test_every_row_is_in_the_partition_of_its_day(log: GeneratedLog) -> None:
    found = log.connection.execute("SELECT tableoid::regclass::text, count(*) FROM sira_predictions GROUP BY 1")
    days = [log.last_day - timedelta(days=ago) for ago in range(DAYS)]
    assert dict(found.fetchall()) == {f"sira_predictions_{day:%Y%m%d}": ROWS_PER_DAY for day in days}


def test_the_ids_that_are_looked_up_are_there(log: GeneratedLog) -> None:
    assert all(find_prediction(log.connection, one) for one in log.some_predictions(20, DAYS))


def test_the_sums_are_those_that_shipping_leaves(log: GeneratedLog, databases: tuple[Connection, Connection]) -> None:
    generated, shipped = databases
    for table in ("siramodel_registry", "sira_canary_config", "sira_canary_phases"):
        with shipped.cursor().copy(f"COPY {table} FROM STDIN") as into:
            into.write(_copied(generated, f"TABLE {table}"))
    # Nothing is sealed yet, so every bucket is still open.
    shipped.execute("UPDATE sira_canary_config SET sealed_through = 'epoch'")
    prepare_shipping(shipped)
    with shipped.transaction():
        ship(shipped, {"predictions": [_lines(generated, "predictions")], "paired": [_lines(generated, "paired")]})
    for query in SUMS:
        rows = generated.execute(query).fetchall()
        assert rows
        assert shipped.execute(query).fetchall() == rows


def test_the_week_has_verdicts_that_the_judge_made(log: GeneratedLog) -> None:
    log.judge()
    found = log.connection.execute("SELECT count(*), count(DISTINCT measurements) FROM sira_canary_verdicts").fetchone()
    assert found is not None
    assert found[0] > ROLLOUT_DAYS * 24 * 6
    assert found[1] == 1


def _lines(connection: Connection, target: Target) -> bytes:
    """The table's rows as a worker spools them."""
    tables = {"predictions": ("sira_predictions", Prediction), "paired": ("sira_paired_predictions", PairedPrediction)}
    table, kind = tables[target]
    columns = ["extract(epoch FROM created_at)" if name == "created_at" else name for name in kind.__struct_fields__]
    return _copied(connection, f"SELECT {', '.join(columns)} FROM {table}")


def _copied(connection: Connection, query: str) -> bytes:
    with connection.cursor().copy(f"COPY ({query}) TO STDOUT") as out:
        return b"".join(bytes(part) for part in out)
