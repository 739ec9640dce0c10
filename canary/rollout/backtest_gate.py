"""A plan may require a backtest of exactly the canary's artifact against the current production, and that it passes."""

from collections.abc import Iterator

from canary.errors import CanaryError
from canary.plan import BacktestGate
from canary.rollout.store import QUERIES
from registry.model_version import ModelVersion
from runtime.postgres import Connection


class BacktestRequired(CanaryError):
    """The rollout may not start; the message says why and what to do."""


def passing_backtest(
    connection: Connection, gate: BacktestGate, canary: ModelVersion, production: ModelVersion
) -> str | None:
    """Return the id of the newest backtest that counts, or None where none is required; raises BacktestRequired."""
    if not gate.required:
        return None
    ask = f'POST /v1/backtests with {{"model_id": "{canary.model_id}", "days": {gate.days}}} starts one'
    migrated = connection.execute(QUERIES["backtests_exist"]).fetchone()
    if not migrated or not migrated[0]:
        raise BacktestRequired("the plan requires a backtest: apply migration 008_backtests first")
    values = {
        "model_id": canary.model_id,
        "sha256": canary.sha256,
        "production_model_id": production.model_id,
        "days": gate.days,
    }
    row = connection.execute(QUERIES["newest_backtest"], values).fetchone()
    if row is None:
        raise BacktestRequired(
            f"the plan requires a backtest of this version over at least {gate.days} days against the current "
            f"production, not older than that: {ask}"
        )
    backtest_id, block_ratio, recall_ratio = row
    if faults := list(gate_faults(gate, block_ratio, recall_ratio)):
        raise BacktestRequired(f"backtest {backtest_id} does not pass: {'; '.join(faults)}")
    return str(backtest_id)


def gate_faults(gate: BacktestGate, block_ratio: float | None, recall_ratio: float | None) -> Iterator[str]:
    """Yield why a backtest does not pass. A ratio is None where the log has nothing to divide by."""
    if gate.max_block_ratio is not None:
        if block_ratio is None:
            yield "production blocked nothing, so there is no ratio of blocks"
        elif block_ratio > gate.max_block_ratio:
            yield f"blocks x {block_ratio:.3g}, and the plan allows {gate.max_block_ratio:g}"
    if gate.min_recall_ratio is not None:
        if recall_ratio is None:
            yield "production blocked no event that is labelled fraud and has matured, so there is no ratio of recall"
        elif recall_ratio < gate.min_recall_ratio:
            yield f"recall x {recall_ratio:.3g}, and the plan asks for {gate.min_recall_ratio:g}"
