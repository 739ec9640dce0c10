"""Rollouts to judge: registered versions, a rollout as old as a test needs, and evidence for it."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp
from statistics import NormalDist

import pytest

from canary import control, store
from canary.evidence import latency_bin
from canary.request import parse_request
from canary.store import StoredRollout
from registry.model_version import ModelVersion, NewVersion, Status, Thresholds
from registry.signature import Field, Signature
from registry.store import change_status, get_version, insert_version
from runtime.postgres import Connection, connect

SIGNATURE = Signature("columns", (Field("amount", "float"),), "probabilities", "zipmap")
# Without Alertmanager nothing would ever advance.
LIMITS = {"critical_alerts": "ignore"}


def latency(requests: int, median_seconds: float) -> Counter[int]:
    """Bins of a lognormal latency with sigma 0.45, in exactly its shape."""
    quantiles = (NormalDist().inv_cdf((i + 0.5) / requests) for i in range(requests))
    return Counter(latency_bin(median_seconds * exp(0.45 * z)) for z in quantiles)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """In autocommit: a test sees what another transaction would."""
    with connect(database_url, name="tests", autocommit=True) as opened:
        yield opened


@pytest.fixture
def register(connection: Connection) -> Callable[..., ModelVersion]:
    """`register("2", product="fraud_score")`: a version in staging."""

    def insert(version: str, status: Status = Status.STAGING, product: str = "fraud_score") -> ModelVersion:
        new = NewVersion(
            product, "gradient", version, "sha256/a.onnx", "a" * 64, 1, SIGNATURE, Thresholds(0.5, 0.9), {}
        )
        with connection.transaction():
            made, _ = insert_version(connection, new, actor="tests")
            return change_status(connection, made.model_id, status, actor="tests").version

    return insert


@dataclass
class Canary:
    """A product's rollout under test. `seconds_old` is how long ago it began, in the database's own time."""

    connection: Connection
    production: ModelVersion
    canary: ModelVersion
    product: str = "fraud_score"

    def start(self, percent: float = 10, seconds_old: int = 0, **fields: object) -> StoredRollout:
        body = {
            "product": self.product,
            "canary_percent": percent,
            "canary_model_id": self.canary.model_id,
            "limits": LIMITS,
            **fields,
        }
        with self.connection.transaction():
            rollout, _ = control.start_or_change(self.connection, parse_request(body), actor="ops_ana")
        self.connection.execute(
            "UPDATE sira_canary_config SET created_at = created_at - age, step_started_at = step_started_at - age,"
            " sealed_through = sealed_through - age FROM make_interval(secs => %(seconds)s) AS age"
            " WHERE rollout_id = %(id)s",
            {"seconds": seconds_old, "id": rollout.rollout_id},
        )
        return self.now()

    def now(self) -> StoredRollout:
        rollout = store.latest_rollout(self.connection, self.product)
        assert rollout is not None
        return rollout

    def status_of(self, version: ModelVersion) -> Status:
        return get_version(self.connection, version.model_id).status

    def evidence(
        self,
        arm: str,
        requests: int,
        errors: int = 0,
        seconds: float = 0.01,
        first_seconds_ago: int = 600,
        last_seconds_ago: int = 15,
        phase: int = 0,
    ) -> None:
        """The same counts in each 5 s bucket between the two times."""
        self.connection.execute(
            "INSERT INTO sira_canary_evidence (rollout_id, phase, arm, bucket_start, requests, errors, allowed, latency,"
            " scores) SELECT %(id)s, %(phase)s, %(arm)s, date_bin('5 s', clock_timestamp(), 'epoch') - make_interval(secs => s),"
            " %(requests)s, %(errors)s, %(requests)s, %(latency)s, %(scores)s"
            " FROM generate_series(%(last)s, %(first)s, 5) AS s",
            {
                "id": self.now().rollout_id,
                "phase": phase,
                "arm": arm,
                "requests": requests,
                "errors": errors,
                "latency": json.dumps(latency(requests, seconds)),
                "scores": json.dumps({"0": requests}),
                "last": last_seconds_ago,
                "first": first_seconds_ago,
            },
        )

    def paired_evidence(self, n11: int, n10: int, n01: int, n00: int, seconds_ago: int = 15, phase: int = 0) -> None:
        self.connection.execute(
            "INSERT INTO sira_canary_paired_evidence (rollout_id, phase, bucket_start, n11, n10, n01, n00)"
            " VALUES (%s, %s, date_bin('5 s', clock_timestamp(), 'epoch') - make_interval(secs => %s), %s, %s, %s, %s)",
            (self.now().rollout_id, phase, seconds_ago, n11, n10, n01, n00),
        )


@pytest.fixture
def canary(connection: Connection, register: Callable[..., ModelVersion]) -> Canary:
    return Canary(connection, register("1", Status.PRODUCTION), register("2"))
