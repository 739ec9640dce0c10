"""Rollouts to judge: registered versions, a clock that tests set, and traffic counted as the shipper counts it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp
from statistics import NormalDist

import pytest

from canary.controller.sources import Sources
from canary.controller.store import Judgement
from canary.controller.tick import tick
from canary.judge.evidence import bucket_start, latency_bin
from canary.rollout import operations, store
from canary.rollout.request import CanaryToStart
from canary.rollout.store import StoredRollout, jsonb
from canary.rollout.verdicts import StoredVerdict, latest_verdict
from registry.model_version import ModelVersion, NewVersion, Status, Thresholds
from registry.signature import Field, Signature
from registry.store import change_status, get_version, insert_version
from runtime.postgres import Connection, connect
from runtime.reading import read

SIGNATURE = Signature("columns", (Field("amount", "float"),), "probabilities", "zipmap")
# Without an Alertmanager, rollouts hold unless they ignore alerts.
LIMITS = {"critical_alerts": "ignore"}
BUCKET_REQUESTS = 1000


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A connection in autocommit: tests see what others see. Only Clock sets its clock, `tests.now`."""
    with connect(database_url, name="tests", autocommit=True) as opened:
        opened.execute(
            "CREATE SCHEMA test_clock;"
            "CREATE FUNCTION test_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
            " $$ SELECT to_timestamp(current_setting('tests.now')::float8) $$;"
            "SET search_path = test_clock, pg_catalog, public"
        )
        yield opened


class Clock:
    """The time that queries of this connection see, in epoch seconds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.now = 0.0
        self.turn_to(bucket_start(time.time()) + 0.5)

    def turn_to(self, now: float) -> None:
        self.now = now
        self._connection.execute("SELECT set_config('tests.now', %s, false)", (str(now),))

    def wait(self, seconds: float) -> None:
        self.turn_to(self.now + seconds)


@pytest.fixture
def clock(connection: Connection) -> Clock:
    return Clock(connection)


@pytest.fixture
def sources() -> Iterator[Sources]:
    """Sources without an Alertmanager and without a Prometheus."""
    asked = Sources(alertmanager_url=None, prometheus_url=None)
    yield asked
    asked.close()


@pytest.fixture
def register(connection: Connection, clock: Clock) -> Callable[..., ModelVersion]:
    """`register("2", product="fraud_score")`: a version in staging."""

    def insert(version: str, status: Status = Status.STAGING, product: str = "fraud_score") -> ModelVersion:
        new = NewVersion(
            product, "gradient", version, "sha256/a.onnx", "a" * 64, 1, SIGNATURE, Thresholds(0.5, 0.9), {}
        )
        with connection.transaction():
            made, _ = insert_version(connection, new, actor="tests")
            return change_status(connection, made.model_id, status, actor="tests").version

    return insert


@dataclass(frozen=True)
class Behaviour:
    """How an arm answers: its error rate, and the median of a lognormal latency with sigma 0.45."""

    errors: float = 0.0
    seconds: float = 0.01


HEALTHY = Behaviour()


@dataclass
class Canary:
    """A product's rollout under test, with traffic that is routed by its percentage."""

    connection: Connection
    clock: Clock
    sources: Sources
    production: ModelVersion
    canary: ModelVersion

    @property
    def product(self) -> str:
        return self.canary.product

    def start(self, percent: float = 10, **fields: object) -> StoredRollout:
        ids = {"product": self.product, "canary_percent": percent, "canary_model_id": self.canary.model_id}
        request = read(CanaryToStart, {**ids, "limits": LIMITS, **fields})
        with self.connection.transaction():
            rollout, _ = operations.start_or_change(self.connection, request, actor="ops_ana")
        return rollout

    def now(self) -> StoredRollout:
        rollout = store.latest_rollout(self.connection, self.product)
        assert rollout is not None
        return rollout

    def status_of(self, version: ModelVersion) -> Status:
        return get_version(self.connection, version.model_id).status

    def verdict(self) -> StoredVerdict:
        verdict = latest_verdict(self.connection, self.now().rollout_id)
        assert verdict is not None
        return verdict

    def tick(self, holder: str = "tests", sources: Sources | None = None) -> Judgement | None:
        """Judge once. Return None when another controller has the lease, or no rollout is live."""
        judged = tick(self.connection, holder, sources or self.sources, stale_seconds=7.5)
        return judged[0] if judged else None

    def run(
        self, seconds: int, canary: Behaviour = HEALTHY, production: Behaviour = HEALTHY, *, ticks: bool = True
    ) -> int:
        """Send traffic, judge it every 5 s, and stop when the rollout ends or changes its step. Return the seconds."""
        before = self.now()
        for passed in range(0, seconds, 5):
            self._serve(self.now(), canary, production)
            self.clock.wait(5)
            if ticks:
                self.tick()
            if (self.now().phase, self.now().status) != (before.phase, before.status):
                return passed + 5
        return seconds

    def serve_production_only(self) -> None:
        """Count a bucket of traffic from workers that no longer route to the canary."""
        self._count(self.now(), bucket_start(self.clock.now), "production", BUCKET_REQUESTS, HEALTHY)

    def _serve(self, rollout: StoredRollout, canary: Behaviour, production: Behaviour) -> None:
        to_canary = round(BUCKET_REQUESTS * rollout.canary_percent / 100)
        start = bucket_start(self.clock.now)
        for arm, requests, behaviour in (
            ("canary", to_canary, canary),
            ("production", BUCKET_REQUESTS - to_canary, production),
        ):
            if requests:
                self._count(rollout, start, arm, requests, behaviour)
        self.connection.execute(
            "INSERT INTO sira_canary_paired_evidence (rollout_id, phase, bucket_start, n11, n10, n01, n00)"
            " VALUES (%s, %s, to_timestamp(%s), 1, 0, 0, %s)",
            (rollout.rollout_id, rollout.phase, start, max(to_canary - 1, 0)),
        )

    def _count(self, rollout: StoredRollout, start: int, arm: str, requests: int, behaviour: Behaviour) -> None:
        # 0.3 errors per bucket are 3 errors in ten buckets: fractions must not be lost.
        due = requests * behaviour.errors
        errors = int(due * (start // 5 + 1)) - int(due * (start // 5))
        self.connection.execute(
            "INSERT INTO sira_canary_evidence (rollout_id, phase, arm, bucket_start, requests, errors, allowed,"
            " latency, scores) VALUES (%s, %s, %s, to_timestamp(%s), %s, %s, %s, %s, %s)",
            (
                rollout.rollout_id,
                rollout.phase,
                arm,
                start,
                requests,
                errors,
                requests - errors,
                jsonb(latency(requests, behaviour.seconds)),
                jsonb({"0": requests - errors}),
            ),
        )


def latency(requests: int, median_seconds: float) -> Counter[int]:
    """Return the bins of a lognormal latency with sigma 0.45, in exactly its expected shape."""
    quantiles = (NormalDist().inv_cdf((i + 0.5) / requests) for i in range(requests))
    return Counter(latency_bin(median_seconds * exp(0.45 * z)) for z in quantiles)


@pytest.fixture
def canary(connection: Connection, clock: Clock, sources: Sources, register: Callable[..., ModelVersion]) -> Canary:
    return Canary(connection, clock, sources, register("1", Status.PRODUCTION), register("2"))


@pytest.fixture
def behaviour() -> type[Behaviour]:
    """`behaviour(errors=0.01, seconds=0.02)`."""
    return Behaviour
