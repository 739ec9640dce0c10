"""The overview: one card per product, with what is wrong on top."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from canary.rollout import store as rollout_store
from console.charts import sparkline, stacked_bar
from console.overview.alarms import alarms
from console.overview.store import Facts, HourOfDecisions, ProductRow, RolloutRow, read_facts
from console.overview.traffic import CELL, RECENT_CELLS, ProductTraffic
from console.pages import PageRoute, Screen, Visit, path_to
from console.words import milliseconds, rate, share
from edge.control.routes import Access

SPOOL, WORKERS = "sum(sira_log_spool_rows)", "sum(sira_workers_ready)"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: its value in the last minutes, in words, and its course over the hour."""

    name: str
    value: str
    chart: Markup


@dataclass(frozen=True, slots=True)
class DayOfDecisions:
    """What was decided in the last 24 hours."""

    allowed: int
    reviewed: int
    blocked: int
    failed: int
    bar: Markup
    by_hour: Sequence[HourOfDecisions]

    @property
    def total(self) -> int:
        return self.allowed + self.reviewed + self.blocked + self.failed


@dataclass(frozen=True, slots=True)
class ProductCard:
    product: ProductRow
    rollout: RolloutRow | None
    sentence: str
    figures: Sequence[Figure]
    decisions: DayOfDecisions


def show(visit: Visit) -> Screen:
    with visit.console.resources.connect() as connection:
        rollout_store.read_one_moment(connection)
        facts = read_facts(connection, visit.now, visit.console.kept.slowness)
    answers = visit.console.sources.ask((SPOOL, WORKERS) if visit.console.resources.prometheus_url else ())
    firing = [(alert.name, alert.product) for alert in answers.critical_alerts or ()]
    values = {
        "alarms": alarms(facts, firing, visit.now),
        "cards": [_card(row, facts, visit.now) for row in facts.products],
        "judged_at": facts.judged_at,
        "spool_rows": answers.values.get(SPOOL),
        "workers": answers.values.get(WORKERS),
        "asks_prometheus": visit.console.resources.prometheus_url is not None,
        "asks_alertmanager": visit.console.resources.alertmanager_url is not None,
        "alerts_known": answers.critical_alerts is not None,
    }
    return Screen("overview/page.html.j2", "Overview", "overview", values)


def _card(row: ProductRow, facts: Facts, now: datetime) -> ProductCard:
    rollout = next((one for one in facts.rollouts if one.product == row.product), None)
    figures = _figures(row.product, facts.traffic.get(row.product, ProductTraffic()), now)
    return ProductCard(row, rollout, _sentence(rollout), figures, _day(facts, row.product))


def _figures(product: str, traffic: ProductTraffic, now: datetime) -> list[Figure]:
    """Return the figures of the last minutes with their course over the hour."""
    cells = traffic.course(now)
    recent = cells[-RECENT_CELLS:]
    requests, errors = sum(cell.requests for cell in recent), sum(cell.errors for cell in recent)
    rates = [cell.requests / CELL.total_seconds() for cell in cells]
    failures = [cell.errors / cell.requests if cell.requests else None for cell in cells]
    slow = [cell.p95 for cell in cells]
    return [
        Figure(
            "requests/s",
            rate(requests / (RECENT_CELLS * CELL.total_seconds())),
            sparkline(rates, f"{product}: requests per second over the last hour"),
        ),
        Figure(
            "errors", share(errors, requests), sparkline(failures, f"{product}: error rate over the last hour", "bad")
        ),
        Figure(
            "p95 scoring",
            milliseconds(traffic.p95),
            sparkline(slow, f"{product}: p95 of model scoring over the last hour"),
        ),
    ]


def _day(facts: Facts, product: str) -> DayOfDecisions:
    hours = facts.decisions.get(product, ())
    names = ("allowed", "reviewed", "blocked", "failed")
    sums = {name: sum(getattr(hour, name) for hour in hours) for name in names}
    parts = list(zip(("allow", "review", "block", "none"), sums.values(), strict=True))
    bar = stacked_bar(parts, f"{product}: {', '.join(f'{value} {name}' for name, value in sums.items())}")
    return DayOfDecisions(**sums, bar=bar, by_hour=hours)


def _sentence(rollout: RolloutRow | None) -> str:
    """Return the state of a rollout with its verdict in one sentence."""
    if rollout is None:
        return "No canary is running."
    if not rollout.live:
        return f"{rollout.canary} was rolled back{_because(rollout)}."
    step = f"step {rollout.step + 1} of {rollout.steps}" if rollout.step >= 0 else "before the first step"
    state = "is paused" if rollout.status == "paused" else "runs"
    start = f"{rollout.canary} {state} at {rollout.canary_percent:g} % ({step})"
    verdict = {
        None: "it has not been judged yet",
        "continue": f"it waits{_because(rollout)}",
        "hold": f"it is on hold{_because(rollout)}",
        "advance": "every measurement passes",
        "rollback": f"it is being rolled back{_because(rollout)}",
    }[rollout.verdict]
    return f"{start}; {verdict}."


def _because(rollout: RolloutRow) -> str:
    reasons = rollout.reasons or ()
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f": {reasons[0]}{more}" if reasons else ""


ROUTES = (PageRoute("GET", path_to(), Access.VIEWER, show),)
