"""One tick of the controller over many rollouts, each with days of evidence."""

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from canary.controller.sources import Sources
from canary.controller.state_cache import StateCache
from canary.controller.tick import tick
from canary.judge.evidence import BUCKET_SECONDS, bucket_start, latency_bin, score_bin
from canary.rollout import operations, store
from canary.rollout.change import Change
from canary.rollout.request import CanaryToStart
from canary.rollout.store import jsonb
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.seed import ACTOR, add_version, first_version
from lab.benchmarks.scale.workspace import QUERIES, Database, Workspace, milliseconds
from registry.model_version import ModelVersion, Status
from runtime.postgres import Connection
from runtime.reading import read

DAY_SECONDS = 86_400
UNJUDGED_SECONDS = 3_600  # of evidence, when the first tick begins
AHEAD_SECONDS = 3_600  # of evidence that is written before the ticks reach it
REQUESTS_PER_SECOND, CANARY_SHARE, ERROR_RATE, MEDIAN_SECONDS, SIGMA = 200, 0.1, 0.003, 0.012, 0.45
BLOCK_RATE = 0.01
SHAPES = 32  # distinct buckets; every stored bucket equals one of them


def measure(workspace: Workspace) -> Finding:
    products, days, ticks = (10, (1,), 8) if workspace.quick else (50, (1, 7), 40)
    rows = []
    with workspace.database() as database, _rollouts(workspace, database, products) as clock:
        until = clock.began + AHEAD_SECONDS
        for span in days:
            workspace.report(f"evidence of {span} days for {products} products")
            first = clock.began - span * DAY_SECONDS
            _add_evidence(database.connection, first, until)
            until = first
            rows.append(_row(workspace, clock, products, span, ticks))
        for fewer in (10, 1):
            if fewer < products:
                _stop_all_but(database.connection, fewer)
                rows.append(_row(workspace, clock, fewer, days[-1], ticks))
    by_products = [row for row in rows if row["days"] == days[-1]][::-1]
    return Finding(
        "A tick of the controller",
        f"Rollouts at 10 % of {REQUESTS_PER_SECOND} requests/s each; every tick seals one bucket of each. Locks,"
        " evidence, verdicts and commits are in Postgres with fsync on. Postgres' clock advances five seconds per tick."
        " The first tick finds an hour of unjudged evidence and estimates every product's dispersion.",
        tuple(rows),
        (
            growth(by_products, "products", "tick ms, median"),
            *([growth(rows[: len(days)], "days", "tick ms, median")] if len(days) > 1 else []),
        ),
        (Goal(f"tick of {products} products, ms", 50, float(rows[len(days) - 1]["tick ms, median"]), at_most=True),),
    )


class Clock:
    """Sets what clock_timestamp() returns in one connection; epoch seconds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._states = StateCache()
        connection.execute(QUERIES["turn_clock"])
        self.began = self.now = bucket_start(time.time()) + 0.5
        self.turn(0)

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self._connection.execute("SELECT set_config('benchmarks.now', %s, false)", (str(self.now),))

    def tick(self, sources: Sources) -> float:
        """Run a tick five seconds after the last one; return its milliseconds."""
        self.turn(BUCKET_SECONDS)
        return milliseconds(lambda: tick(self._connection, ACTOR, sources, stale_seconds=7.5, cache=self._states))


@contextmanager
def _rollouts(workspace: Workspace, database: Database, products: int) -> Iterator[Clock]:
    """Start a rollout for each product, an hour ago."""
    connection = database.connection
    first = first_version(connection, workspace.folder, workspace.workload.model_path, PRODUCT)
    for number in range(products):
        _start(connection, first, f"product_{number:02}")
    clock = Clock(connection)
    connection.execute(QUERIES["leave_unjudged"], {"since": clock.now - UNJUDGED_SECONDS})
    _add_shapes(connection)
    yield clock


def _start(connection: Connection, like: ModelVersion, product: str) -> None:
    add_version(connection, like, product, "1", Status.PRODUCTION)
    canary = add_version(connection, like, product, "2", Status.STAGING)
    wanted = {"product": product, "canary_percent": 100 * CANARY_SHARE, "canary_model_id": canary.model_id}
    # Without an Alertmanager, every verdict would be `hold`.
    request = read(CanaryToStart, {**wanted, "limits": {"critical_alerts": "ignore"}})
    with connection.transaction():
        operations.start_or_change(connection, request, actor=ACTOR)


def _row(workspace: Workspace, clock: Clock, products: int, days: int, ticks: int) -> Row:
    workspace.report(f"{ticks} ticks of {products} products with {days} days of evidence")
    sources = Sources(alertmanager_url=None, prometheus_url=None)
    first = clock.tick(sources)
    taken = sorted(clock.tick(sources) for _ in range(ticks))
    sources.close()
    return {
        "products": products,
        "days": days,
        "tick ms, median": statistics.median(taken),
        "slowest ms": taken[-1],
        "first ms": first,
    }


def _stop_all_but(connection: Connection, kept: int) -> None:
    live = [rollout.product for rollout in store.all_rollouts(connection) if rollout.live]
    for product in live[kept:]:
        with connection.transaction():
            operations.stop(connection, product, Change(ACTOR, "measuring fewer"))
    if len(live) < kept:
        raise MeasurementFailed(f"{kept} rollouts were to be judged, {len(live)} are live")


def _add_shapes(connection: Connection) -> None:
    """Fill a temporary table with buckets of healthy traffic."""
    connection.execute(QUERIES["make_shapes"])
    rng = np.random.default_rng(113)
    for shape in range(SHAPES):
        for arm, share in (("production", 1 - CANARY_SHARE), ("canary", CANARY_SHARE)):
            requests = int(rng.poisson(REQUESTS_PER_SECOND * BUCKET_SECONDS * share))
            seconds = rng.lognormal(np.log(MEDIAN_SECONDS), SIGMA, requests)
            values = {
                "shape": shape,
                "arm": arm,
                "requests": requests,
                "errors": int(rng.binomial(requests, ERROR_RATE)),
                "blocked": int(rng.binomial(requests, BLOCK_RATE)),
                "latency": jsonb(_counts(latency_bin(one) for one in seconds.tolist())),
                "scores": jsonb(_counts(score_bin(one) for one in rng.beta(1, 20, requests).tolist())),
            }
            connection.execute(QUERIES["add_shape"], values)


def _counts(bins: Iterable[int]) -> dict[str, int]:
    return {str(bin_): count for bin_, count in Counter(bins).items()}


def _add_evidence(connection: Connection, first: float, until: float) -> None:
    """Write, for every rollout and bucket, a row per arm, a paired row, and production's errors."""
    span = {"first": bucket_start(first), "until": bucket_start(until), "shapes": SHAPES}
    for query in ("add_arm_evidence", "add_paired_evidence", "add_production_errors"):
        connection.execute(QUERIES[query], span)
    connection.execute("VACUUM ANALYZE sira_canary_evidence, sira_canary_paired_evidence, sira_production_errors")
    # In production these rows arrive day by day: flush them, so that the disk is idle when the ticks begin.
    connection.execute("CHECKPOINT")
