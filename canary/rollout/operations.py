"""What an operator may do with a product's canary. Every function runs in the caller's transaction."""

import msgspec
import psycopg

from canary.errors import CanaryError
from canary.limits import DEFAULT_LIMITS, Limits
from canary.plan import DEFAULT_PLAN
from canary.rollout import store, transitions
from canary.rollout.backtest_gate import passing_backtest
from canary.rollout.change import Change
from canary.rollout.next_action import step_at
from canary.rollout.request import CanaryToStart
from canary.rollout.store import NewRollout, StoredRollout
from registry.model_version import ModelVersion
from registry.model_version import Status as ModelStatus
from registry.store import ModelNotFound, get_version, production_of
from runtime.postgres import Connection
from runtime.reading import InputInvalid, Violation


class ProductNotFound(CanaryError):
    def __init__(self, product: str) -> None:
        super().__init__(
            f"no version of a product {product!r} is registered; `python -m registry list` lists the products that are"
        )


class NoCanary(CanaryError):
    def __init__(self, product: str) -> None:
        super().__init__(f"no canary of {product} runs: POST /v1/canary starts one")


class CanaryConflict(CanaryError):
    """The request does not fit the current state; the message says what to do."""


def start_or_change(
    connection: Connection, request: CanaryToStart, *, actor: str, ignore_alerts: bool = False
) -> tuple[StoredRollout, bool]:
    """Return the rollout, and whether it is new. A live rollout continues with the requested percentage as a new phase.

    `ignore_alerts` starts a new one with critical_alerts "ignore": without an Alertmanager, "hold" would hold the
    rollout forever.

    Raises ProductNotFound, InputInvalid, CanaryConflict and BacktestRequired.
    """
    change = Change(actor, request.reason)
    if not store.product_exists(connection, request.product):
        raise ProductNotFound(request.product)
    live = store.lock_live_rollout(connection, request.product)
    production = production_of(connection, request.product)
    if production is None:
        raise CanaryConflict(f"{request.product} has no production model: promote one first, then start a canary")
    if request.production_model_id not in (None, production.model_id):
        raise CanaryConflict(
            f"production_model_id is not {request.product}'s production model, which is {production.model_id}"
        )
    if live:
        return _change_percent(connection, live, request, change), False
    limits = request.limits or DEFAULT_LIMITS
    if ignore_alerts:
        limits = msgspec.structs.replace(limits, critical_alerts="ignore")
    return _start(connection, request, limits, production, change), True


def find(connection: Connection, product: str) -> StoredRollout | None:
    """Return the live rollout, or the last one; None when there never was one. Raises ProductNotFound."""
    rollout = store.latest_rollout(connection, product)
    if rollout is None and not store.product_exists(connection, product):
        raise ProductNotFound(product)
    return rollout


def stop(connection: Connection, product: str, change: Change) -> StoredRollout | None:
    """Send all traffic to production. Safe to repeat: without a live rollout, return the last one as it ended."""
    live = store.lock_live_rollout(connection, product)
    if live is None:
        return find(connection, product)
    return transitions.stop(connection, live, change)


def pause(connection: Connection, product: str, change: Change) -> StoredRollout:
    rollout = lock_live(connection, product)
    return rollout if rollout.status == "paused" else transitions.pause(connection, rollout, change)


def resume(connection: Connection, product: str, change: Change) -> StoredRollout:
    rollout = lock_live(connection, product)
    return rollout if rollout.status == "running" else transitions.resume(connection, rollout, change)


def next_step(connection: Connection, product: str, change: Change) -> StoredRollout:
    """Move to the next step now, or from the last step to production, regardless of bake time and verdict."""
    rollout = lock_live(connection, product)
    following = rollout.step + 1
    if following < len(rollout.plan.steps):
        return transitions.go_to_step(connection, rollout, following, change)
    return transitions.finish(connection, rollout, change)


def lock_live(connection: Connection, product: str) -> StoredRollout:
    """Return the live rollout with its row locked. Raises NoCanary and ProductNotFound."""
    rollout = store.lock_live_rollout(connection, product)
    if rollout is None:
        find(connection, product)  # raises ProductNotFound
        raise NoCanary(product)
    return rollout


def _start(
    connection: Connection, request: CanaryToStart, limits: Limits, production: ModelVersion, change: Change
) -> StoredRollout:
    canary = _canary_version(connection, request)
    plan = request.chosen_plan or DEFAULT_PLAN
    backtest_id = passing_backtest(connection, plan.backtest, canary, production) if plan.backtest else None
    new = NewRollout(
        product=request.product,
        canary_model_id=canary.model_id,
        production_model_id=production.model_id,
        canary_percent=request.canary_percent,
        mode=request.mode or "sequential",
        plan=plan,
        limits=limits,
        step=step_at(plan, request.canary_percent),
    )
    try:
        with connection.transaction():
            return transitions.start(connection, new, change, backtest_id)
    except psycopg.errors.UniqueViolation:
        raise CanaryConflict(f"another canary of {request.product} was started at the same moment") from None


def _canary_version(connection: Connection, request: CanaryToStart) -> ModelVersion:
    if request.canary_model_id is None:
        raise _wrong_model("is missing: it may be left out only while a canary runs")
    try:
        version = get_version(connection, request.canary_model_id)
    except ModelNotFound:
        raise _wrong_model("no such model version") from None
    if version.product != request.product:
        raise _wrong_model(f"is a version of {version.product}")
    if version.status not in (ModelStatus.STAGING, ModelStatus.CANARY):
        retry = version.status is ModelStatus.ROLLED_BACK
        remedy = "a retry is a new rollout: promote it to staging first" if retry else "a canary starts from staging"
        raise CanaryConflict(f"model {version.model_id} is {version.status}: {remedy}")
    return version


def _change_percent(
    connection: Connection, live: StoredRollout, request: CanaryToStart, change: Change
) -> StoredRollout:
    if request.canary_model_id not in (None, live.canary_model_id):
        raise CanaryConflict(
            f"a canary of {live.product} with model {live.canary_model_id} is {live.status}: stop it first"
        )
    wanted = {"plan": request.chosen_plan, "limits": request.limits, "mode": request.mode}
    if differs := [name for name, value in wanted.items() if value not in (None, getattr(live, name))]:
        raise CanaryConflict(f"{' and '.join(differs)} cannot change while a canary runs: stop it and start another")
    if request.canary_percent == live.canary_percent:
        return live
    return transitions.set_percent(connection, live, request.canary_percent, change)


def _wrong_model(detail: str) -> InputInvalid:
    return InputInvalid([Violation("/canary_model_id", detail)])
