"""Half of what the service can answer, at a constant rate: each event once, counted where callers keep every answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from lab.errors import LoadFailed, NotInTime
from lab.faults import log_store
from lab.faults.deployment import Deployment
from lab.faults.log_store import EventCount
from lab.faults.models import PRODUCT
from lab.faults.scenario import SETTLE_SECONDS, ScenarioRun, require_wrk
from lab.load.closed_loop import ClosedLoop
from lab.load.generator import Target, write_bodies
from lab.load.open_loop import OpenLoop, Schedule
from lab.waiting import wait_until

PREFIX = "traffic-"
SHARE = 0.5
LIMIT_SECONDS = 10.0
QUICK_LIMIT_SECONDS = 3.0


@dataclass
class Traffic:
    """`limit` and `rate` in requests/s; the other fields are set when the traffic has ended."""

    limit: float
    rate: float
    sent: int = 0
    answered: int = 0
    p99_ms: float = float("nan")


@contextmanager
def half_load(run: ScenarioRun, deployment: Deployment, port: int, seconds: float) -> Iterator[Traffic]:
    """Send at a constant arrival rate for `seconds`; the end of the block waits for what is left of them."""
    limit = _limit(run, deployment, port)
    traffic = Traffic(limit, SHARE * limit)
    schedule = Schedule(traffic.rate, seconds)
    with OpenLoop(target_of(run, deployment, port, PREFIX), schedule, run.folder) as load:
        yield traffic
        summary = load.finish()
    traffic.sent, traffic.answered = summary.requests, summary.requests - summary.errors
    traffic.p99_ms = summary.p99_ms


def count_shipped(traffic: Traffic, deployment: Deployment) -> EventCount:
    """Count the traffic's rows in Postgres as soon as all have arrived, or after a while if some are missing."""
    found = EventCount(0, 0)

    def is_complete() -> bool:
        nonlocal found
        found = log_store.count_events(connection, PREFIX)
        return found.ids >= traffic.answered

    with deployment.owner() as connection, suppress(NotInTime):
        wait_until(is_complete, SETTLE_SECONDS, "the log is complete")
    return found


def target_of(run: ScenarioRun, deployment: Deployment, port: int, prefix: str) -> Target:
    """Return a target whose event ids begin with `prefix` and end with the number of the payload's turn."""
    bodies = run.folder / "bodies"
    if not bodies.exists():
        write_bodies(bodies, map(_tail, run.payloads))
    return Target(f"http://127.0.0.1:{port}/v1/infer", f'{{"event_id":"{prefix}', bodies, deployment.service_token)


def _limit(run: ScenarioRun, deployment: Deployment, port: int) -> float:
    """Measure the requests/s that the service answers at full load."""
    require_wrk()
    seconds = QUICK_LIMIT_SECONDS if run.quick else LIMIT_SECONDS
    measured = ClosedLoop(target_of(run, deployment, port, "limit-"), seconds).run()
    if measured.errors:
        raise LoadFailed(f"{measured.errors} of {measured.requests} requests failed while the limit was measured")
    return measured.per_second


def _tail(payload: object) -> str:
    return f'","product":"{PRODUCT}","payload":{json.dumps(payload)}}}'
