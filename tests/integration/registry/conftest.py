"""Registry rows to test with."""

from collections.abc import Callable, Iterator

import pytest

from registry import store
from registry.model_version import ModelVersion, NewVersion, Status, Thresholds
from registry.signature import Field, Signature
from runtime.postgres import Connection, connect

SIGNATURE = Signature("columns", (Field("amount", "float"),), "probabilities", "zipmap")


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests") as opened:
        yield opened


@pytest.fixture
def new_version() -> Callable[..., NewVersion]:
    """`new_version("1")`: a checked artifact that is no row yet."""

    def make(version: str, product: str = "fraud_score") -> NewVersion:
        sha256 = "a" * 64
        key, metadata = f"sha256/{sha256}.onnx", {"producer": "test"}
        return NewVersion(product, "gradient", version, key, sha256, 1, SIGNATURE, Thresholds(0.5, 0.9), metadata)

    return make


@pytest.fixture
def make_version(connection: Connection, new_version: Callable[..., NewVersion]) -> Callable[..., ModelVersion]:
    """`make_version("2", Status.CANARY)`: a committed row that came to its status by the allowed changes."""
    ways = {
        Status.STAGING: (),
        Status.CANARY: (Status.CANARY,),
        Status.ROLLED_BACK: (Status.CANARY, Status.ROLLED_BACK),
        Status.PRODUCTION: (Status.PRODUCTION,),
        Status.ARCHIVED: (Status.ARCHIVED,),
    }

    def make(version: str, status: Status = Status.STAGING, product: str = "fraud_score") -> ModelVersion:
        with connection.transaction():
            made, _ = store.insert_version(connection, new_version(version, product), actor="tests")
            for step in ways[status]:
                made = store.change_status(connection, made.model_id, step, actor="tests").version
        return made

    return make


@pytest.fixture
def start_rollout(connection: Connection) -> Callable[..., None]:
    """`start_rollout(canary, production, "paused")`: a committed row of sira_canary_config."""

    def start(canary: ModelVersion, production: ModelVersion, status: str = "running") -> None:
        with connection.transaction():
            connection.execute(
                "INSERT INTO sira_canary_config"
                " (product, canary_model_id, production_model_id, canary_percent, status, plan, limits)"
                " VALUES (%s, %s, %s, 10, %s, '{}', '{}')",
                (canary.product, canary.model_id, production.model_id, status),
            )

    return start
