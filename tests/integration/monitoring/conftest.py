"""Production as the guard finds it: an hour's decisions, and seven days of history."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from runtime.postgres import Connection, connect

MODEL = str(uuid4())
Answer = Callable[..., None]


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


@pytest.fixture
def answer(connection: Connection) -> Answer:
    """Add answered predictions of a product to the hour that lies `ago` back, as the shipper counts them."""

    def add(allowed: int, blocked: int = 0, *, ago: timedelta = timedelta(), variant: str = "production") -> None:
        hour = (datetime.now(UTC) - ago).replace(minute=0, second=0, microsecond=0)
        for decision, count in (("allow", allowed), ("block", blocked)):
            connection.execute(
                "INSERT INTO sira_prediction_hours AS h"
                " (hour, product, model_id, variant, decision, outcome, predictions)"
                " VALUES (%s, 'cards', %s, %s, %s, 'ok', %s)"
                " ON CONFLICT (hour, product, model_id, variant, decision, outcome)"
                " DO UPDATE SET predictions = h.predictions + excluded.predictions",
                (hour, MODEL, variant, decision, count),
            )

    return add


@pytest.fixture
def history(answer: Answer) -> None:
    """Seven days with 1 % of blocks in each of the hours around this one."""
    for day in range(1, 8):
        for around in (-1, 0, 1):
            answer(99_000, 1_000, ago=timedelta(days=day, hours=-around))
