"""The rows of rollouts. Every function runs in the caller's transaction and commits nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from canary.judge.evidence import HISTORY_SECONDS
from canary.judge.measurement import Measurement
from canary.limits import CustomMetric, Limits, Mode, Policy, routed_percent
from canary.plan import Plan
from canary.rollout.next_action import Position, RolloutStatus
from runtime.postgres import Connection
from runtime.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))

# A rollout of an earlier release keeps the rules it was started with, so that its verdicts can be recomputed.
RULES_ADDED_LATER = {"sample_ratio": None, "recall_ratio": None}


@dataclass(frozen=True, slots=True)
class StoredRollout:
    """A row of sira_canary_config. `judge_state`: as `judge.state.encode_state` wrote it, None before the first bucket.

    `phase` counts its splits; evidence before `sealed_through` has been judged and never changes.
    """

    rollout_id: str
    product: str
    canary_model_id: str
    production_model_id: str
    canary_percent: float
    status: RolloutStatus
    mode: Mode
    plan: Plan
    limits: Limits
    step: int
    phase: int
    step_started_at: datetime
    sealed_through: datetime
    judge_state: str | None
    dispersion: float | None
    dispersion_at: datetime | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None

    @property
    def live(self) -> bool:
        return self.status in ("running", "paused")

    def position(self) -> Position:
        return Position(self.plan, self.status, self.step, self.step_started_at.timestamp())

    def policy(self, percent: float | None = None) -> Policy:
        """Return the policy at its own percentage, or at that of an earlier phase."""
        routed = routed_percent(self.canary_percent if percent is None else percent, self.limits)
        return Policy(routed, self.mode, self.limits, self.dispersion)


@dataclass(frozen=True, slots=True)
class NewRollout:
    product: str
    canary_model_id: str
    production_model_id: str
    canary_percent: float
    mode: Mode
    plan: Plan
    limits: Limits
    step: int


@dataclass(frozen=True, slots=True)
class Seal:
    """`judge_state`: the state at `through` (epoch seconds), None before the first bucket."""

    rollout_id: str
    through: float
    judge_state: str | None


@dataclass(frozen=True, slots=True)
class Phase:
    """One split of a rollout."""

    phase: int
    step: int
    canary_percent: float
    production_model_id: str
    started_at: datetime
    started_by: str


def read_one_moment(connection: Connection) -> None:
    """Call first in a transaction: all its reads see one moment, so a verdict never appears before its effect."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def live_metrics(connection: Connection) -> dict[str, tuple[CustomMetric, ...]]:
    """Return the custom metrics of every live rollout, by rollout_id."""
    rows = connection.execute(QUERIES["live_metrics"]).fetchall()
    return {rollout_id: msgspec.convert(metrics, tuple[CustomMetric, ...]) for rollout_id, metrics in rows}


def all_rollouts(connection: Connection, *, product: str | None = None, limit: int = 50) -> list[StoredRollout]:
    """Return rollouts, newest first."""
    return _rollouts(connection, "all_rollouts", {"product": product, "limit": limit})


def lock_rollouts(connection: Connection, rollout_ids: Sequence[str]) -> list[StoredRollout]:
    """Lock the rows and return them, after every other change to them has ended."""
    return _rollouts(connection, "lock_rollouts", {"rollout_ids": list(rollout_ids)})


def lock_live_rollout(connection: Connection, product: str) -> StoredRollout | None:
    return _rollout(connection, "lock_live_rollout", {"product": product})


def latest_rollout(connection: Connection, product: str) -> StoredRollout | None:
    """Return the live rollout, or the last one."""
    return _rollout(connection, "latest_rollout", {"product": product})


def find_rollout(connection: Connection, rollout_id: str) -> StoredRollout | None:
    """Return a rollout by its id, or None."""
    return _rollout(connection, "find_rollout", {"rollout_id": rollout_id})


def product_exists(connection: Connection, product: str) -> bool:
    row = connection.execute(QUERIES["product_exists"], {"product": product}).fetchone()
    return bool(row and row[0])


def insert_rollout(connection: Connection, new: NewRollout, *, actor: str) -> StoredRollout:
    """Insert a rollout, with production's last ten minutes as its first evidence.

    Raises psycopg.errors.UniqueViolation when the product has a live rollout.
    """
    values = {name: getattr(new, name) for name in NewRollout.__slots__}
    values |= {"plan": jsonb(new.plan), "limits": jsonb(new.limits), "created_by": actor}
    rollout = _with_phase_recorded(connection, "insert_rollout", values, actor)
    history = {"rollout_id": rollout.rollout_id, "seconds": HISTORY_SECONDS}
    connection.execute(QUERIES["insert_production_history"], history)
    return rollout


def begin_phase(
    connection: Connection,
    rollout_id: str,
    *,
    percent: float,
    step: int,
    actor: str,
    production_model_id: str | None = None,
) -> StoredRollout:
    """Start another split, or compare with another production; the evidence of the step starts again."""
    values = {"rollout_id": rollout_id, "percent": percent, "step": step, "production_model_id": production_model_id}
    return _with_phase_recorded(connection, "begin_phase", values, actor)


def set_status(connection: Connection, rollout_id: str, status: RolloutStatus) -> StoredRollout:
    """Set the status; a rollout that ends gets 0 %."""
    changed = _rollout(connection, "set_status", {"rollout_id": rollout_id, "status": status})
    assert changed is not None
    return changed


def set_dispersion(connection: Connection, rollout_id: str, dispersion: float | None) -> None:
    connection.execute(QUERIES["set_dispersion"], {"rollout_id": rollout_id, "dispersion": dispersion})


def seal(connection: Connection, seals: Sequence[Seal]) -> None:
    """Store the judge's states. Evidence before a seal never changes: a row that arrives later counts after it."""
    values = {
        "rollout_ids": [one.rollout_id for one in seals],
        "throughs": [one.through for one in seals],
        "states": [one.judge_state for one in seals],
    }
    connection.execute(QUERIES["seal"], values)


def insert_rollback(
    connection: Connection, rollout: StoredRollout, *, reason: str, actor: str, measurements: Iterable[Measurement]
) -> None:
    values = {
        "product": rollout.product,
        "canary_model_id": rollout.canary_model_id,
        "production_model_id": rollout.production_model_id,
        "reason": reason,
        "rolled_back_by": actor,
        "rollout_id": rollout.rollout_id,
        "measurements": jsonb(tuple(measurements)),
    }
    connection.execute(QUERIES["insert_rollback"], values)


def phases(connection: Connection, rollout_id: str) -> list[Phase]:
    with connection.cursor(row_factory=class_row(Phase)) as cursor:
        return cursor.execute(QUERIES["phases"], {"rollout_id": rollout_id}).fetchall()


def _with_phase_recorded(connection: Connection, query: str, values: Mapping[str, Any], actor: str) -> StoredRollout:
    rollout = _rollout(connection, query, values)
    assert rollout is not None
    connection.execute(QUERIES["record_phase"], {"rollout_id": rollout.rollout_id, "actor": actor})
    return rollout


def _rollout(connection: Connection, query: str, values: Mapping[str, Any]) -> StoredRollout | None:
    return next(iter(_rollouts(connection, query, values)), None)


def _rollouts(connection: Connection, query: str, values: Mapping[str, Any]) -> list[StoredRollout]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return [_from_row(row) for row in cursor.execute(QUERIES[query], values)]


def _from_row(row: Mapping[str, Any]) -> StoredRollout:
    columns = {name: row[name] for name in StoredRollout.__slots__}
    ids = {name: str(row[name]) for name in ("rollout_id", "canary_model_id", "production_model_id")}
    plan, limits = msgspec.convert(row["plan"], Plan), msgspec.convert(RULES_ADDED_LATER | row["limits"], Limits)
    return StoredRollout(**{**columns, **ids, "plan": plan, "limits": limits})


def jsonb(value: Any) -> Jsonb:
    """Encode structs as JSON; a number that JSON cannot hold becomes null."""
    return Jsonb(value, dumps=msgspec.json.encode)
