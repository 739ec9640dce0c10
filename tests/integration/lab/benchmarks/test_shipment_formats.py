"""Both formats of a row that the profile compares load the same rows into the product's staging table."""

import pytest

from lab.benchmarks.profile.shipment import WAYS
from lab.benchmarks.rows import predictions
from lab.demo.recipes import PRODUCT
from lab.demo.transactions import transactions
from runtime.postgres import connect
from scoring.log.store import prepare_shipping


def test_copy_text_and_json_stage_the_same_rows(database_url: str) -> None:
    payloads = list(transactions(20, seed=7).payloads())
    rows = list(predictions(payloads, 20, tag="e", started=1_795_000_000.0, product=PRODUCT))
    staged = []
    with connect(database_url, name="tests") as connection:
        prepare_shipping(connection)
        for encode, into_postgres in WAYS.values():
            with connection.transaction(force_rollback=True):
                into_postgres(connection, encode(rows))
                found = connection.execute(
                    "SELECT *, payload::jsonb AS payload FROM staged_predictions ORDER BY event_id"
                )
                names = [column.name for column in found.description or ()]
                staged.append([dict(zip(names, row, strict=True)) for row in found])
    assert len(staged[0]) == 20
    for copied, sent in zip(*staged, strict=True):
        for rounded in ("latency_seconds", "model_seconds"):
            assert copied.pop(rounded) == pytest.approx(sent.pop(rounded), rel=1e-5)
        assert copied == sent
