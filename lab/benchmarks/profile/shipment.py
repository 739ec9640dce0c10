"""From an answer to a row in Postgres: as COPY text, which the product uses, and as JSON, for comparison."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from lab.benchmarks.profile.steps import microseconds
from lab.benchmarks.rows import predictions
from lab.benchmarks.scale.finding import Row
from lab.benchmarks.scale.workspace import Workspace, milliseconds
from runtime.postgres import Connection
from runtime.queries import load_queries
from scoring.log.prediction import Prediction, copy_text
from scoring.log.store import prepare_shipping, ship, stage

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
ROWS = 4_000  # the largest shipment
ROUNDS = 7


@dataclass(frozen=True)
class Shipments:
    """`whole_us`: microseconds of one row's share of a shipment, including insertion and counting."""

    rows: tuple[Row, ...]
    whole_us: float


def measure(workspace: Workspace) -> Shipments:
    with workspace.database() as database:
        connection = database.connection
        prepare_shipping(connection)
        rounds = [_answers(workspace, number) for number in range(ROUNDS)]
        rows = tuple(_row(connection, name, rounds, *way) for name, way in WAYS.items())
        return Shipments(rows, _median(lambda text: _ship(connection, text), [copy_text(one) for one in rounds]))


def _answers(workspace: Workspace, number: int) -> list[Prediction]:
    return list(predictions(workspace.workload.payloads, ROWS, tag=f"shipment-{number}", started=time.time()))


def _row(
    connection: Connection,
    name: str,
    rounds: list[list[Prediction]],
    encode: Callable[[Sequence[Prediction]], bytes],
    into_postgres: Callable[[Connection, bytes], None],
) -> Row:
    encoded = [encode(one) for one in rounds]

    def staged(content: bytes) -> None:
        with connection.transaction():
            into_postgres(connection, content)

    return {
        "row format": name,
        "bytes": len(encoded[0]) / ROWS,
        "µs to encode, worker": microseconds(lambda: encode(rounds[0])) / ROWS,
        "µs to stage, Postgres": _median(staged, encoded),
    }


def _copy(connection: Connection, text: bytes) -> None:
    stage(connection, "predictions", [text])


def _stage_json(connection: Connection, text: bytes) -> None:
    connection.execute(QUERIES["stage_json"], {"rows": text.decode()})


def _ship(connection: Connection, text: bytes) -> None:
    with connection.transaction():
        ship(connection, {"predictions": [text]})


def _median(call: Callable[..., object], inputs: Sequence[Any]) -> float:
    """Return the wall-clock microseconds per row."""
    return statistics.median(milliseconds(partial(call, one)) for one in inputs) * 1e3 / ROWS


WAYS: Mapping[str, tuple[Callable[[Sequence[Prediction]], bytes], Callable[[Connection, bytes], None]]] = {
    "COPY text": (copy_text, _copy),
    "JSON": (msgspec.json.Encoder().encode, _stage_json),
}
