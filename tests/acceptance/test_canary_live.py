"""Canaries on the running service: two workers, a controller, Postgres, up to 200 requests per second and product."""

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.demo.running import MakeRun
from lab.load.callers import Callers
from registry.artifacts import open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from registry.store import change_status
from runtime.postgres import Connection, connect
from tests.support.table_model import table_model

AMOUNTS = 100
SCORES = [n / (2 * AMOUNTS) for n in range(AMOUNTS)]
# Matrix products of about 0.04 ms each: production takes 1.5 ms, and a slow canary twice as long.
USUAL_SPINS, TWICE = [35] * AMOUNTS, [70] * AMOUNTS
LIMITS = {"critical_alerts": "ignore", "error_rate_negligible": 0.02, "paired_samples": 200}
# Each request has another payload, because answers from the cache are not timed.
PAYLOADS = [{"amount": 2 + n % (AMOUNTS - 3) + n * 1e-5} for n in range(50_000)]
Run = Callable[..., "Running"]


@dataclass
class Running:
    """A product's canary under its own traffic."""

    served: MakeRun
    connection: Connection
    product: str
    rollout_id: str
    began: float
    callers: Callers

    def state(self) -> dict[str, Any]:
        return operate(self.served, "GET", f"/v1/canary/{self.product}")

    def until_ended(self, seconds: float) -> str:
        deadline = time.time() + seconds
        while (state := str(self.state()["state"])) == "running" and time.time() < deadline:
            time.sleep(0.2)
        return state

    def exposure(self) -> tuple[int, float]:
        """Return the number of requests routed to the canary, and the seconds from its start to the last of them."""
        time.sleep(2)  # until the log is shipped
        row = self.connection.execute(
            "SELECT count(*), extract(epoch FROM max(created_at))::float8 FROM sira_predictions"
            " WHERE rollout_id = %s AND arm = 'canary'",
            (self.rollout_id,),
        ).fetchone()
        assert row
        return row[0], row[1] - self.began


def operate(served: MakeRun, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Call the control API on the service's own port, as the runbook does."""
    content = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(served.url + path, content, served.bearer("ML_OPS_TOKEN"), method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.fixture
def run(served: MakeRun, tmp_path: Path) -> Iterator[Run]:
    """`run("cards", production, canary)`: register both models, start traffic, and start the canary at 10 %."""
    with ExitStack() as running:
        url = served.environment["DATABASE_URL"]
        connection = running.enter_context(connect(url, name="tests", autocommit=True))
        artifacts = open_store(served.environment["MODEL_BUCKET"])

        def start(
            product: str, production: bytes, canary: bytes, *, rate: float = 200, plan: object = "default"
        ) -> Running:
            ids = []
            for name, content in (("production", production), ("canary", canary)):
                (tmp_path / name).write_bytes(content)
                declaration = Declaration(product, name, "1")
                made = register(connection, artifacts, tmp_path / name, declaration, actor="tests")
                ids.append(made.version.model_id)
            with connection.transaction():
                change_status(connection, ids[0], Status.PRODUCTION, actor="tests")
            time.sleep(2)  # until both workers have loaded it
            token = served.environment["INTERNAL_SERVICE_TOKEN"]
            callers = running.enter_context(Callers(served.port, token, product, PAYLOADS, rate, prefix=product))
            time.sleep(2)
            body = {"product": product, "canary_percent": 10, "canary_model_id": ids[1], "limits": LIMITS, "plan": plan}
            rollout = operate(served, "POST", "/v1/canary", body)
            running.callback(operate, served, "POST", f"/v1/canary/{product}/stop")
            return Running(served, connection, product, rollout["rollout_id"], time.time(), callers)

        yield start


def test_a_canary_that_always_fails_leaves_every_process_within_six_seconds_and_no_caller_sees_it(
    run: Run,
) -> None:
    failing = run("live_throws", table_model(SCORES), table_model(SCORES[:2]))
    assert failing.until_ended(10) == "rolled_back"
    requests, seconds = failing.exposure()
    assert seconds < 6
    assert 4 <= requests <= 20
    assert failing.callers.ledger.failed == 0
    assert failing.callers.ledger.variants["canary"] == 0


def test_a_slow_canary_is_rolled_back_within_thirty_seconds_while_a_healthy_one_advances(run: Run) -> None:
    plan = {"steps": [{"percent": 10, "bake_seconds": 5}, {"percent": 50}]}
    healthy = run("live_healthy", table_model(SCORES), table_model([s + 0.001 for s in SCORES]), rate=100, plan=plan)
    slow = run("live_slow", table_model(SCORES, spins=USUAL_SPINS), table_model(SCORES, spins=TWICE), rate=100)
    assert slow.until_ended(60) == "rolled_back"
    requests, seconds = slow.exposure()
    # Thirty seconds of requests at the full rate; a busy machine sends them more slowly.
    # lab.benchmarks.canary.live measures the time.
    assert requests < 600
    assert seconds < 60
    deadline = time.time() + 60
    while healthy.state()["canary_percent"] != 50 and time.time() < deadline:
        time.sleep(0.5)
    state = healthy.state()
    assert (state["state"], state["canary_percent"]) == ("running", 50), state["verdict"]
    assert healthy.callers.ledger.failed == slow.callers.ledger.failed == 0
    assert healthy.callers.ledger.variants["canary"] > 100
