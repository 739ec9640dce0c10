"""The breaker, end to end over HTTP: a week of history, two workers, a controller, and a model that blocks a third."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import multiprocess

from lab.benchmarks.monitoring import past
from lab.benchmarks.monitoring.past import Habit, Past, Scored
from lab.benchmarks.monitoring.stack import Stack, serving_over
from lab.http import ask
from lab.load.callers import Payload
from lab.versions import make_production
from lab.waiting import wait_until
from monitoring.breaker.store import GUARD
from registry import audit
from registry.artifacts import ArtifactStore
from registry.registration import Declaration, register
from runtime.postgres import Connection
from tests.support.table_model import table_model

PRODUCT = "breaker_live"
BLOCKED = 99
SCORES = [0.1] * 97 + [0.6, 0.6, 0.95]
PAST_PER_HOUR = 600
RATE = 150.0
LOOK_SECONDS = 60.0


def _payloads(count: int) -> list[Payload]:
    """Distinct payloads, one in a hundred of which is blocked."""
    return [{"amount": n % 100 + n * 1e-6} for n in range(count)]


def _mostly_wrong(payload: Payload) -> Payload:
    """Every third amount is one that the model blocks."""
    amount = payload["amount"]
    return {"amount": BLOCKED + amount % 1} if int(amount) % 3 == 0 else payload


@pytest.fixture
def stack(database_url: str, tmp_path: Path) -> Iterator[Stack]:
    model = tmp_path / "model.onnx"
    model.write_bytes(table_model(SCORES))

    def prepare(connection: Connection, artifacts: ArtifactStore, url: str) -> None:
        version = register(connection, artifacts, model, Declaration(PRODUCT, "table", "1"), actor="tests").version
        make_production(connection, version.model_id, actor="tests")
        payloads = _payloads(1_000)
        scored = Scored(payloads, np.array([SCORES[int(payload["amount"])] for payload in payloads]))
        past.write(url, version, Past(scored, scored, Habit(RATE, 0.02, 0.01), PAST_PER_HOUR))

    with serving_over(tmp_path / "stack", database_url, prepare) as running:
        yield running


def downgraded_by(pid: int) -> float:
    """Return how many blocks a worker has answered as reviews, from its own file of metrics."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    (folder,) = [word.partition(b"=")[2] for word in environment if word.startswith(b"PROMETHEUS_MULTIPROC_DIR=")]
    files = [str(file) for file in Path(os.fsdecode(folder)).glob(f"counter_{pid}.db")]
    return sum(
        sample.value
        for metric in multiprocess.MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        for sample in metric.samples
        if sample.name == "sira_decisions_downgraded_total" and sample.labels["product"] == PRODUCT
    )


def test_a_breaker_trips_on_every_worker_is_logged_audited_and_shown_and_an_operator_lifts_it(stack: Stack) -> None:
    operator = stack.operator()
    operator.post(f"/v1/breaker/{PRODUCT}", {"enabled": True, "reason": "as the runbook says"})

    def breaker() -> dict[str, object]:
        (found,) = operator.get("/v1/models")["breakers"]
        return dict(found)

    def blocks_since(at: float) -> int:
        return decided(stack.connection, at).get(("block", "block"), 0)

    with stack.callers(PRODUCT, _payloads(50_000), RATE, "live") as callers:
        ready = 'sira_decision_guard_ready{product="breaker_live"} 1.0'
        wait_until(lambda: ready in ask(f"{stack.controller.url}/metrics").text, LOOK_SECONDS, "the guard is ready")
        assert stack.alarms(PRODUCT) == set()
        assert breaker()["tripped_at"] is None
        callers.change = _mostly_wrong
        wait_until(lambda: breaker()["tripped_at"] is not None, LOOK_SECONDS, "the breaker has tripped")
        workers = stack.service.workers()
        assert len(workers) == 2
        wait_until(lambda: min(map(downgraded_by, workers)) > 0, 10, "every worker answers reviews")
        tripped = time.time()
        assert {alarm.alert for alarm in stack.alarms(PRODUCT)} >= {"SiraBlockRateJump", "SiraBreakerTripped"}
        assert operator.get(f"/v1/monitoring/{PRODUCT}")["guard"]["block_share_jumped"]
        wait_until(lambda: decided(stack.connection, tripped).get(("review", "block"), 0) > 200, 20, "rows arrive")
        assert blocks_since(tripped) == 0
        assert audited(stack.connection) == [("breaker.tripped", GUARD), ("breaker.set", "lab")]
        operator.post(f"/v1/breaker/{PRODUCT}", {"enabled": False, "reason": "the attack is real"})
        lifted = time.time()
        assert (breaker()["enabled"], breaker()["tripped_at"]) == (False, None)
        wait_until(lambda: blocks_since(lifted) > 200, 20, "blocks are blocks again")
    assert audited(stack.connection)[0] == ("breaker.set", "lab")
    assert callers.ledger.failed == callers.ledger.contradicted == 0
    answers = {identity: answer.decision for identity, answer in callers.ledger.answers.items()}
    wait_until(lambda: logged(stack.connection, "live") == answers, 10, "the log has each answer as it was given")


def decided(connection: Connection, since: float) -> dict[tuple[str, str], int]:
    """Count the live rows by what was answered and what the model decided."""
    rows = connection.execute(
        "SELECT p.decision, p.decision_model, count(*) FROM sira_predictions p"
        " WHERE p.created_at > to_timestamp(%s) GROUP BY 1, 2",
        (since,),
    ).fetchall()
    return {(answered, by_model): count for answered, by_model, count in rows}


def logged(connection: Connection, prefix: str) -> dict[str, str]:
    """Return the logged decisions by prediction id, of events with this prefix."""
    found = connection.execute(
        "SELECT prediction_id::text, decision FROM sira_predictions WHERE starts_with(event_id, %s)", (prefix,)
    )
    return dict(found.fetchall())


def audited(connection: Connection) -> list[tuple[str, str]]:
    return [(row.action, row.actor) for row in audit.history(connection, subject=PRODUCT)]
