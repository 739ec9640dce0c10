"""Tables and cards for the terminal."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from canary.judge.measurement import interval_text
from canary.report.course import ARMS
from canary.report.report import Report
from canary.rollout.next_action import BEFORE_PLAN
from canary.rollout.store import StoredRollout
from canary.rollout.verdicts import StoredVerdict
from runtime.command import plain_table, utc_text

# What stands in the way comes first: a small terminal shows only the first rows.
_URGENCY = ("rollback", "hold", "unknown", "pass")
_STYLES: Mapping[str, str] = {
    "running": "green",
    "promoted": "bold green",
    "paused": "yellow",
    "rolled_back": "red",
    "stopped": "dim",
    "continue": "green",
    "advance": "bold green",
    "hold": "yellow",
    "rollback": "red",
    "pass": "green",
    "unknown": "dim",
}


def rollouts_table(rollouts: Iterable[StoredRollout], *, wide: bool) -> Table:
    """Lay out one row per rollout; the ids only where there is room for them."""
    table = plain_table(
        "product", "state", "percent", "step", "started", "by", *(("canary", "rollout") if wide else ())
    )
    for rollout in rollouts:
        table.add_row(
            rollout.product,
            word(rollout.status),
            f"{rollout.canary_percent:g} %",
            _step(rollout),
            utc_text(rollout.created_at),
            rollout.created_by,
            *((rollout.canary_model_id, rollout.rollout_id) if wide else ()),
        )
    return table


def rollout_card(rollout: StoredRollout, verdict: StoredVerdict | None) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    shown: dict[str, str | Text] = {
        "state": word(rollout.status),
        "percent": f"{rollout.canary_percent:g} %, step {_step(rollout)}",
        "canary": rollout.canary_model_id,
        "production": rollout.production_model_id,
        "started": f"{utc_text(rollout.created_at)} by {rollout.created_by}",
        "rollout": rollout.rollout_id,
        "mode": rollout.mode,
    }
    if rollout.ended_at:
        shown["ended"] = utc_text(rollout.ended_at)
    for name, value in shown.items():
        facts.add_row(Text(name, style="dim"), value)
    parts: list[RenderableType] = [Text(rollout.product, style="bold"), facts, "", _plan_table(rollout)]
    if verdict:
        parts += ["", verdict_line(verdict), measurements_table(verdict)]
    return Group(*parts)


def report_tables(report: Report) -> RenderableType:
    """Return the report in brief; the HTML page has the rest."""
    return Group(_arms_table(report), "", _decisions_line(report), "", _history_table(report))


def _arms_table(report: Report) -> Table:
    table = plain_table("arm", "requests", "errors", "error rate", "blocked", "p50", "p95", "p99")
    for arm in ARMS:
        totals = [total for total in report.totals if total.arm == arm]
        requests, errors = (sum(getattr(total, name) for total in totals) for name in ("requests", "errors"))
        latency = report.latency[arm]
        table.add_row(
            arm,
            f"{requests:,}",
            f"{errors:,}",
            f"{errors / requests:.3%}" if requests else "",
            f"{sum(total.blocked for total in totals):,}",
            *("" if value is None else f"{value * 1e3:.1f} ms" for value in (latency.p50, latency.p95, latency.p99)),
        )
    return table


def _decisions_line(report: Report) -> str:
    decisions = report.decisions
    kinds = ", ".join(
        f"{flip.events:,} {flip.production_decision} -> {flip.canary_decision} (amounts {flip.amount:,.0f})"
        for flip in decisions.by_kind
    )
    summary = f"{decisions.events:,} events scored by both, {decisions.flips:,} decided differently"
    return f"{summary}: {kinds}" if kinds else summary


def _history_table(report: Report) -> Table:
    table = plain_table("phase", "from", "to", "verdict", "action", "last reasons")
    for run in report.verdicts:
        reasons = "; ".join(run.reasons)
        table.add_row(
            str(run.phase), utc_text(run.first), utc_text(run.last), word(run.verdict), word(run.action), reasons
        )
    return table


def _plan_table(rollout: StoredRollout) -> Table:
    table = plain_table("", "percent", "bakes", "gate")
    for number, step in enumerate(rollout.plan.steps):
        mark = "->" if rollout.live and number == rollout.step else ""
        bake = str(timedelta(seconds=step.bake_seconds))
        table.add_row(mark, f"{step.percent:g} %", bake, step.gate)
    return table


def measurements_table(verdict: StoredVerdict) -> Table:
    table = plain_table("measurement", "outcome", "value", "limit", "interval", "reason")
    for m in sorted(verdict.measurements, key=lambda one: _URGENCY.index(one.outcome)):
        table.add_row(m.name, word(m.outcome), _number(m.value), _number(m.limit), interval_text(m), m.reason)
    return table


def verdict_line(verdict: StoredVerdict) -> Text:
    reasons = "; ".join(verdict.reasons)
    return Text.assemble(word(verdict.verdict), f" at {utc_text(verdict.judged_at)}: {reasons}")


def _step(rollout: StoredRollout) -> str:
    steps = len(rollout.plan.steps)
    return f"before the plan's {steps}" if rollout.step == BEFORE_PLAN else f"{rollout.step + 1} of {steps}"


def word(word: str) -> Text:
    return Text(word, style=_STYLES.get(word, ""))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
