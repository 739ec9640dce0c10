"""Runs one case on the served product and observes its alarms."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from lab.benchmarks.monitoring.alarms import Alarm
from lab.benchmarks.monitoring.cases import BURST_EVENTS, MAX_BLOCK_SHARE, RATE, Case
from lab.benchmarks.monitoring.outcome import Breaker, Measured, Seen
from lab.benchmarks.monitoring.stack import Stack
from lab.load.callers import Callers, Payload

# Healthy traffic before the change: the alarms must be silent, and the first looks only remember where they begin.
HEALTHY_SECONDS = 40.0
# What else the change raises is watched for so long after the alarms that were expected.
LINGER_SECONDS = 30.0
MAX_SECONDS = 180.0
POLL_SECONDS = 0.5
SHIPPED_SECONDS = 3.0
BURST_SECONDS, BURST_EVERY = 6.0, 60.0
PLAN = {"steps": [{"percent": 10, "gate": "manual"}, {"percent": 100}]}
LIMITS = {"critical_alerts": "ignore"}


@dataclass
class Watcher:
    """Remembers when each alarm of a product was first seen; `since` is when the change was made."""

    stack: Stack
    product: str
    since: float = field(default_factory=time.time)
    seen: dict[Alarm, float] = field(default_factory=dict)

    def look(self) -> None:
        for alarm in self.stack.alarms(self.product):
            self.seen.setdefault(alarm, time.time() - self.since)

    def raised(self) -> set[str]:
        return {alarm.alert for alarm in self.seen}

    def report(self) -> tuple[Seen, ...]:
        found = sorted(self.seen.items(), key=lambda item: item[1])
        return tuple(Seen(alarm.alert, alarm.what, round(seconds, 1)) for alarm, seconds in found)


@dataclass(frozen=True)
class Traffic:
    """Payments that the model allows or not, and those that it blocks."""

    usual: list[Payload]
    blocked: list[Payload]


def measure(stack: Stack, case: Case, traffic: Traffic, canary: str | None, healthy_seconds: float) -> Measured:
    """Run one case, for minutes; `canary`: the model_id of its canary. Silence is watched for `healthy_seconds`."""
    if case.breaker:
        stack.operator().post(f"/v1/breaker/{case.product}", {"enabled": True, "max_block_share": MAX_BLOCK_SHARE})
    if not case.expected:
        return _healthy_day(stack, case, traffic, canary, healthy_seconds)
    callers = stack.callers(case.product, traffic.usual, RATE, case.product)
    with callers:
        before = Watcher(stack, case.product)
        for _ in _until(HEALTHY_SECONDS):
            before.look()
        watcher = Watcher(stack, case.product)
        if case.change is not None:
            callers.change = case.change
        if canary is not None:
            _start_canary(stack, case.product, canary)
        for _ in _until(MAX_SECONDS):
            watcher.look()
            if case.expected <= watcher.raised():
                break
        for _ in _until(LINGER_SECONDS):
            watcher.look()
    return _measured(stack, case, watcher, before.report(), [callers])


def _healthy_day(stack: Stack, case: Case, traffic: Traffic, canary: str | None, seconds: float) -> Measured:
    """Watch for `seconds`: 60 events per second, 100 in the middle half, 140 in the middle fifth, and bursts."""
    watcher, shifts = Watcher(stack, case.product), list(_day(stack, case.product, traffic, seconds))
    try:
        for elapsed in _until(seconds):
            for shift in shifts:
                shift.follow(elapsed)
            if canary is not None and elapsed > HEALTHY_SECONDS:
                _start_canary(stack, case.product, canary)
                canary = None
            watcher.look()
    finally:
        for shift in shifts:
            shift.follow(seconds)
    return _measured(stack, case, watcher, (), [shift.callers for shift in shifts])


@dataclass
class Shift:
    """Callers who send from `start` to `end`, in seconds of the day."""

    start: float
    end: float
    callers: Callers
    sending: bool = False

    def follow(self, elapsed: float) -> None:
        """Start or stop the callers as the time demands."""
        due = self.start <= elapsed < self.end
        if due and not self.sending:
            self.callers.start()
        elif self.sending and not due:
            self.callers.stop()
        self.sending = due


def _day(stack: Stack, product: str, traffic: Traffic, seconds: float) -> Iterator[Shift]:
    draw = Random(3)
    for name, share, start, end in (("base", 0.6, 0.0, 1.0), ("lunch", 0.4, 0.25, 0.75), ("noon", 0.4, 0.4, 0.6)):
        callers = stack.callers(product, traffic.usual, share * RATE, f"{product}-{name}")
        yield Shift(start * seconds, end * seconds, callers)
    for minute in range(int(seconds / BURST_EVERY)):
        start = minute * BURST_EVERY + draw.uniform(0.0, BURST_EVERY - BURST_SECONDS)
        callers = stack.callers(product, traffic.blocked, BURST_EVENTS / BURST_SECONDS, f"{product}-burst-{minute}")
        yield Shift(start, start + BURST_SECONDS, callers)


def _start_canary(stack: Stack, product: str, canary: str) -> None:
    body = {"product": product, "canary_percent": 10, "canary_model_id": canary, "plan": PLAN, "limits": LIMITS}
    stack.operator().post("/v1/canary", body)


def _until(seconds: float) -> Iterator[float]:
    """Yield the seconds that have passed, every POLL_SECONDS, until `seconds` have."""
    began = time.monotonic()
    for turn in itertools.count(1):
        elapsed = time.monotonic() - began
        if elapsed >= seconds:
            return
        yield elapsed
        time.sleep(max(0.0, began + turn * POLL_SECONDS - time.monotonic()))


def _measured(stack: Stack, case: Case, watcher: Watcher, early: tuple[Seen, ...], callers: list[Callers]) -> Measured:
    seconds = time.time() - watcher.since
    time.sleep(SHIPPED_SECONDS)
    return Measured(
        case.name,
        case.done,
        tuple(sorted(case.expected)),
        watcher.report(),
        early,
        round(seconds, 1),
        sum(one.ledger.sent for one in callers),
        sum(one.ledger.failed for one in callers),
        _breaker(stack, case.product, watcher.since) if case.breaker else None,
    )


def _breaker(stack: Stack, product: str, since: float) -> Breaker | None:
    """Return what the breaker did, from its row and the log; None if it has not tripped."""
    row = stack.connection.execute(
        "SELECT extract(epoch FROM b.tripped_at)::float8,"
        " extract(epoch FROM max(p.created_at) FILTER (WHERE p.decision = 'block'))::float8,"
        " count(*) FILTER (WHERE p.decision = 'block'), count(*) FILTER (WHERE p.decision = 'review')"
        " FROM sira_breaker b JOIN sira_predictions p USING (product)"
        " WHERE product = %(product)s AND p.created_at >= to_timestamp(%(since)s) AND p.day >= current_date - 1"
        " AND p.score >= p.block_threshold AND b.tripped_at IS NOT NULL GROUP BY 1",
        {"product": product, "since": since},
    ).fetchone()
    return None if row is None else Breaker(round(row[0] - since, 1), round(row[1] - since, 1), row[2], row[3])
