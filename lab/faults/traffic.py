"""Half of what the service can answer, at a constant rate: each event once, counted where callers keep every answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lab.benchmarks import open_loop, wrk
from lab.benchmarks.open_loop import Schedule
from lab.benchmarks.wrk import LoadFailed, Target
from lab.faults import log_store
from lab.faults.log_store import Counted
from lab.faults.models import PRODUCT
from lab.faults.service import StandFailed, wait_until
from lab.faults.stand import Stand
from lab.faults.trial import SETTLE_SECONDS, Trial, require_wrk

PREFIX = "traffic-"
SHARE = 0.5
LIMIT_SECONDS = 10.0


@dataclass
class Traffic:
    """`limit` and `rate` in requests/s; the others once it has ended."""

    limit: float
    rate: float
    sent: int = 0
    answered: int = 0
    p99_seconds: float = float("nan")


@contextmanager
def half_load(trial: Trial, stand: Stand, port: int, seconds: float) -> Iterator[Traffic]:
    """For `seconds`, at a constant arrival rate; what the block leaves of them is waited for."""
    bodies = wrk.write_bodies(trial.folder / "bodies", map(_tail, trial.payloads))
    limit = _limit(stand, port, bodies, LIMIT_SECONDS if not trial.quick else 3.0)
    traffic = Traffic(limit, SHARE * limit)
    schedule = Schedule(traffic.rate, seconds)
    generator = open_loop.drive_apart(_target(stand, port, bodies, PREFIX), schedule, trial.folder)
    try:
        yield traffic
        if generator.wait(seconds + open_loop.GRACE_SECONDS + 60):
            raise StandFailed(f"the load ended with {generator.returncode}")
    finally:
        generator.kill()
        generator.wait()
    recording = open_loop.collect(trial.folder)
    traffic.sent, traffic.answered = schedule.requests, schedule.requests - recording.failed
    traffic.p99_seconds = float(np.nanpercentile(recording.latency, 99))


def shipped(traffic: Traffic, stand: Stand) -> Counted:
    """What Postgres holds of it, as soon as that is all of it; or after a while, when something is missing."""
    found = Counted(0, 0)

    def is_whole() -> bool:
        nonlocal found
        found = log_store.count_events(connection, PREFIX)
        return found.ids >= traffic.answered

    with stand.owner() as connection, suppress(StandFailed):
        wait_until(is_whole, SETTLE_SECONDS, "the log is whole")
    return found


def _limit(stand: Stand, port: int, bodies: Path, seconds: float) -> float:
    require_wrk()
    try:
        load = wrk.drive(_target(stand, port, bodies, "limit-"), seconds)
    except LoadFailed as failed:
        raise StandFailed(str(failed)) from None
    if load.errors:
        raise StandFailed(f"{load.errors} of {load.requests} calls failed while the limit was looked for")
    return load.per_second


def _target(stand: Stand, port: int, bodies: Path, prefix: str) -> Target:
    return Target(f"http://127.0.0.1:{port}/v1/infer", f'{{"event_id":"{prefix}', bodies, stand.service_token)


def _tail(payload: object) -> str:
    return f'","product":"{PRODUCT}","payload":{json.dumps(payload)}}}'
