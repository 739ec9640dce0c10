"""Count what production decided since the last look, and guard its block and review shares."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from canary.judge.sequential import FloatArray
from monitoring import guard, store
from monitoring.breaker import store as breakers
from monitoring.guard import BUCKET_SECONDS, CELL_BUCKETS, REFERENCE_DAYS, NormalShare
from monitoring.store import DecisionCell, DecisionCounts, GuardRow, PastHour
from runtime import metrics
from runtime.postgres import Connection

log = logging.getLogger("sira.monitoring.watch")

# Places in DecisionCounts: of all requests, and of the decisions that are guarded.
_ALL = 0
_PLACES = {"review": 1, "block": 2}
_HOURS_AROUND = (-1, 0, 1)
# A look this soon after the last is left out: another controller has just counted.
_MIN_SECONDS = 0.5 * BUCKET_SECONDS
_CELL_SECONDS = CELL_BUCKETS * BUCKET_SECONDS
_CELLS_PER_HOUR = 3600 // _CELL_SECONDS


class Watch:
    """One per controller. The references are read once an hour, because they change with the hour only."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._references: dict[str, dict[str, NormalShare]] = {}

    def look(self, connection: Connection) -> int:
        """Count, test and publish; return how many guards (one per product and decision) began or ceased to fire.

        Any number of controllers may look: one counts, and all publish what is stored.
        """
        if not store.guard_exists(connection):
            return 0
        changed = 0
        with connection.transaction():
            may_count, now = store.lock_guard(connection)
            rows = store.guard_rows(connection)
            if may_count:
                self._read_references(connection, now)
                for product, totals in _recent_totals(connection, now).items():
                    row, counted = self._next(product, totals, rows.get(product), now)
                    if row is None:
                        continue
                    store.store_guard(connection, row, counted)
                    changed += _log_changes(rows.get(product), row)
                    rows[product] = row
                firing = {product: row.firing.get("block", False) for product, row in rows.items()}
                breakers.follow_guard(connection, firing, now)
        _publish(rows)
        return changed

    def _read_references(self, connection: Connection, now: datetime) -> None:
        hour = now.replace(minute=0, second=0, microsecond=0)
        if hour == self._hour:
            return
        ages = [timedelta(days=day, hours=-around) for day in range(1, REFERENCE_DAYS + 1) for around in _HOURS_AROUND]
        past = _past_hours(connection, now, ages)
        self._references = references(past, store.day_of_cells(connection, now))
        self._hour = hour

    def _next(
        self, product: str, totals: Mapping[str, DecisionCounts], before: GuardRow | None, now: datetime
    ) -> tuple[GuardRow | None, DecisionCounts]:
        """Return the product's next state, and the counts since the last look.

        The state is None if that look was under `_MIN_SECONDS` ago.
        """
        if before is None:
            # The first look only remembers where counting begins. `wealth` is the logarithm of the evidence that the
            # share is too high; `quiet` is its value before any event.
            wealth = {decision: guard.to_json(guard.quiet()) for decision in _PLACES}
            return GuardRow(product, now, totals, wealth, dict.fromkeys(_PLACES, False), False), (0, 0, 0)
        if (now - before.counted_at).total_seconds() < _MIN_SECONDS:
            return None, (0, 0, 0)
        counted = since(totals, before.totals)
        known = self._references.get(product, {})
        wealth, firing = {}, {}
        for decision, place in _PLACES.items():
            reference = known.get(decision, NormalShare(np.array(np.nan)))
            events, requests = np.array([float(counted[place])]), np.array([float(counted[_ALL])])
            last = guard.from_json(before.wealth[decision])
            last = guard.observe(last, events, requests, reference)[-1]
            wealth[decision], firing[decision] = guard.to_json(last), bool(guard.fires(last))
        ready = any(not np.isnan(reference.rate) for reference in known.values())
        return GuardRow(product, now, totals, wealth, firing, ready), counted


def _recent_totals(connection: Connection, now: datetime) -> dict[str, dict[str, DecisionCounts]]:
    """Return by product and hour what the models have decided, whatever the breaker made of it."""
    this_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    recent = store.recent_totals(connection, now)
    hours = [this_hour - timedelta(hours=ago) for ago in range(3)]
    products = [breaker.product for breaker in breakers.breakers(connection)]
    for (product, hour), downgraded in breakers.downgraded(connection, products, hours).items():
        name = hour.astimezone(UTC).strftime("%Y-%m-%dT%H")
        if name in (totals := recent.get(product, {})):
            totals[name] = as_the_model_decided(totals[name], downgraded)
    return recent


def _past_hours(connection: Connection, now: datetime, ages: Sequence[timedelta]) -> list[PastHour]:
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    products = [breaker.product for breaker in breakers.breakers(connection)]
    downgraded = breakers.downgraded(connection, products, [this_hour - age for age in ages])
    return [
        replace(past, counts=as_the_model_decided(past.counts, downgraded.get((past.product, this_hour - past.age), 0)))
        for past in store.past_hours(connection, now, ages)
    ]


def as_the_model_decided(counts: DecisionCounts, downgraded: int) -> DecisionCounts:
    """Return the counts as they were before the breaker, which would otherwise hide its own cause from the guard."""
    requests, reviewed, blocked = counts
    return requests, max(0, reviewed - downgraded), blocked + downgraded


def since(totals: Mapping[str, DecisionCounts], before: Mapping[str, Sequence[int]]) -> DecisionCounts:
    """What was counted after `before`; an hour that `before` does not know counts whole."""
    added = [0, 0, 0]
    for hour, counts in totals.items():
        known = before.get(hour, (0, 0, 0))
        for place in range(3):
            added[place] += max(0, counts[place] - known[place])
    return added[0], added[1], added[2]


def references(past: list[PastHour], cells: list[DecisionCell]) -> dict[str, dict[str, NormalShare]]:
    """What is normal for each product and decision in the present hour."""
    found: dict[str, dict[str, NormalShare]] = {}
    for product in {hour.product for hour in past}:
        counts = _by_day_and_hour([hour for hour in past if hour.product == product])
        bursts = _by_hour_and_cell([cell for cell in cells if cell.product == product])
        found[product] = {
            decision: NormalShare(
                guard.highest_normal_rate(counts[place], counts[_ALL]), guard.dispersion(bursts[place], bursts[_ALL])
            )
            for decision, place in _PLACES.items()
        }
    return found


def _by_day_and_hour(past: list[PastHour]) -> FloatArray:
    """Return counts by (all, review, block), day, and hour before, same, after."""
    counts = np.zeros((3, REFERENCE_DAYS, len(_HOURS_AROUND)))
    for hour in past:
        hours = round(hour.age.total_seconds() / 3600)
        day = round(hours / 24)
        around = _HOURS_AROUND.index(24 * day - hours)
        counts[:, day - 1, around] = hour.counts
    return counts


def _by_hour_and_cell(cells: list[DecisionCell]) -> FloatArray:
    """Return counts by (all, review, block), hour, and cell of 30 s of the last day: only hours with traffic."""
    hours = sorted({cell.start // 3600 for cell in cells})
    counts = np.zeros((3, max(1, len(hours)), _CELLS_PER_HOUR))
    for cell in cells:
        counts[:, hours.index(cell.start // 3600), cell.start % 3600 // _CELL_SECONDS] = cell.counts
    return counts


def _log_changes(before: GuardRow | None, after: GuardRow) -> int:
    """Log each guard that began or ceased to fire; return how many did."""
    changed = [d for d in _PLACES if bool(before and before.firing.get(d)) != after.firing[d]]
    for decision in changed:
        event = "decision_share_jumped" if after.firing[decision] else "decision_share_normal_again"
        log.warning(event, extra={"product": after.product, "decision": decision})
    return len(changed)


def _publish(rows: Mapping[str, GuardRow]) -> None:
    for product, row in rows.items():
        metrics.guard_ready.labels(product).set(row.ready)
        for decision in _PLACES:
            metrics.decision_guard.labels(product, decision).set(bool(row.firing.get(decision)))
