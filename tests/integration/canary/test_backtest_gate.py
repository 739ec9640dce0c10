"""A plan that requires a backtest starts with a passing one only."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from psycopg.types.json import Jsonb

from canary.plan import BacktestGate, Plan, Step
from canary.rollout import operations
from canary.rollout.backtest_gate import BacktestRequired, gate_faults
from canary.rollout.request import CanaryToStart
from registry import audit
from registry import store as registry_store
from registry.model_version import ModelVersion, NewVersion, Status, Thresholds
from registry.signature import Field, Signature
from runtime.postgres import Connection, connect

GATE = BacktestGate()


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


@pytest.fixture
def versions(connection: Connection) -> tuple[ModelVersion, ModelVersion]:
    """Production, and a version in staging."""
    signature = Signature("columns", (Field("amount", "float"),), "probabilities", "zipmap")
    made = []
    for name in ("1", "2"):
        sha256 = name * 64
        new = NewVersion("cards", "m", name, f"sha256/{sha256}.onnx", sha256, 1, signature, Thresholds(0.5, 0.9), {})
        with connection.transaction():
            made.append(registry_store.insert_version(connection, new, actor="tests")[0])
    with connection.transaction():
        registry_store.change_status(connection, made[0].model_id, Status.PRODUCTION, actor="tests")
    return made[0], made[1]


@pytest.fixture
def done(connection: Connection, versions: tuple[ModelVersion, ModelVersion]) -> Callable[..., str]:
    """`done(block_ratio=1.2)`: the id of a finished backtest of the staged version."""

    def make(
        block_ratio: float | None = 1.0,
        recall_ratio: float | None = 1.0,
        days: int = 14,
        ago: str = "0",
        **columns: str,
    ) -> str:
        production, canary = versions
        values = {"sha256": canary.sha256, "production": production.model_id, **columns}
        report = {"block_ratio": block_ratio, "quality": [{"recall_ratio": recall_ratio}]}
        row = connection.execute(
            "INSERT INTO sira_backtests"
            " (product, model_id, sha256, production_model_id, request, status, report, ended_at)"
            " VALUES ('cards', %s, %s, %s, %s, 'done', %s, now() - %s::interval) RETURNING backtest_id::text",
            (canary.model_id, values["sha256"], values["production"], Jsonb({"days": days}), Jsonb(report), ago),
        ).fetchone()
        assert row
        return str(row[0])

    return make


def start(connection: Connection, versions: tuple[ModelVersion, ModelVersion], gate: BacktestGate | None = GATE) -> str:
    plan = Plan(steps=(Step(percent=10),), backtest=gate)
    request = CanaryToStart(product="cards", canary_percent=10, canary_model_id=versions[1].model_id, plan=plan)
    with connection.transaction():
        return operations.start_or_change(connection, request, actor="tests")[0].rollout_id


def test_without_a_gate_no_backtest_is_needed(
    connection: Connection, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    assert start(connection, versions, None)


def test_a_gate_that_is_not_required_asks_nothing(
    connection: Connection, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    assert start(connection, versions, BacktestGate(required=False))


def test_a_passing_backtest_starts_the_rollout_and_the_audit_names_it(
    connection: Connection, versions: tuple[ModelVersion, ModelVersion], done: Callable[..., str]
) -> None:
    done(block_ratio=9.0)
    backtest_id = done(block_ratio=1.5, recall_ratio=0.95)
    rollout_id = start(connection, versions)
    history = audit.history(connection, subject=rollout_id)
    assert msgspec.to_builtins(history)[-1]["after"]["backtest_id"] == backtest_id


@pytest.mark.parametrize(
    "values",
    [{"days": 13}, {"ago": "15 days"}, {"sha256": "f" * 64}, {}],
    ids=["too few days", "too old", "another artifact", "another production"],
)
def test_another_backtest_does_not_count(
    connection: Connection,
    versions: tuple[ModelVersion, ModelVersion],
    done: Callable[..., str],
    values: dict[str, str],
) -> None:
    done(**values or {"production": versions[1].model_id})
    with pytest.raises(BacktestRequired, match="POST /v1/backtests"):
        start(connection, versions)


def test_the_newest_backtest_counts(
    connection: Connection, versions: tuple[ModelVersion, ModelVersion], done: Callable[..., str]
) -> None:
    done(ago="1 hour")
    failed = done(block_ratio=1.6, recall_ratio=0.9)
    with pytest.raises(BacktestRequired, match=rf"{failed} does not pass: blocks x 1.6.*; recall x 0.9"):
        start(connection, versions)


def test_without_the_migration_a_gate_refuses(
    connection: Connection, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    connection.execute("DROP TABLE sira_backtests")
    with pytest.raises(BacktestRequired, match="008_backtests"):
        start(connection, versions)


def test_a_ratio_that_is_not_known_does_not_pass() -> None:
    assert len(list(gate_faults(GATE, None, None))) == 2
    assert list(gate_faults(BacktestGate(max_block_ratio=None, min_recall_ratio=None), None, None)) == []
