"""From an answer to a row in Postgres: as COPY text, the way it is done, and as JSON, the way it was."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from lab.benchmarks.profile.stages import microseconds
from lab.benchmarks.rows import predictions
from lab.benchmarks.scale.finding import Row
from lab.benchmarks.scale.room import Room, milliseconds
from runtime.postgres import Connection
from runtime.queries import load_queries
from scoring.prediction import Prediction, copy_text
from scoring.store import prepare_shipping, ship

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))
ROWS = 4_000  # a shipment, at most
ROUNDS = 7


@dataclass(frozen=True)
class Shipments:
    """`whole_us`: a row's share of a shipment, insertion and counting included."""

    rows: tuple[Row, ...]
    whole_us: float


def measure(room: Room) -> Shipments:
    with room.database() as database:
        connection = database.connection
        prepare_shipping(connection)
        rounds = [_answers(room, number) for number in range(ROUNDS)]
        ways = {"COPY text": (copy_text, _copy), "JSON": (msgspec.json.Encoder().encode, _stage_json)}
        rows = tuple(_row(connection, name, rounds, *way) for name, way in ways.items())
        return Shipments(rows, _median(lambda text: _ship(connection, text), [copy_text(one) for one in rounds]))


def _answers(room: Room, number: int) -> list[Prediction]:
    return list(predictions(room.workload.payloads, ROWS, tag=f"shipment-{number}", started=time.time()))


def _row(
    connection: Connection,
    name: str,
    rounds: list[list[Prediction]],
    encode: Callable[[list[Prediction]], bytes],
    stage: Callable[[Connection, bytes], None],
) -> Row:
    encoded = [encode(one) for one in rounds]

    def staged(content: bytes) -> None:
        with connection.transaction():
            stage(connection, content)

    return {
        "a row as": name,
        "bytes": len(encoded[0]) / ROWS,
        "µs to encode, worker": microseconds(lambda: encode(rounds[0])) / ROWS,
        "µs to stage, Postgres": _median(staged, encoded),
    }


def _copy(connection: Connection, text: bytes) -> None:
    with connection.cursor().copy("COPY staged_predictions FROM STDIN") as copy:
        copy.write(text)


def _stage_json(connection: Connection, text: bytes) -> None:
    connection.execute(QUERIES["stage_json"], {"rows": text.decode()})


def _ship(connection: Connection, text: bytes) -> None:
    with connection.transaction():
        ship(connection, {"predictions": [text]})


def _median(call: Callable[..., object], inputs: Sequence[Any]) -> float:
    """Microseconds a row, of the clock."""
    return statistics.median(milliseconds(partial(call, one)) for one in inputs) * 1e3 / ROWS
