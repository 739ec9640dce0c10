"""`make demo`: a backtest, then three canaries in turn under live traffic, reported as they happen: four minutes."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from archive.errors import ArchiveError
from lab.demo.backtesting import GATE, show_backtest
from lab.demo.running import MakeRun, open_run
from lab.demo.transactions import transactions
from lab.demo.versions import DEMO_PRODUCT, EVENING_HOUR, REASON, DemoVersions, register_demo_versions
from lab.errors import LabError
from lab.load.callers import Callers, Payload
from registry import RegistryError
from registry.artifacts import open_store
from registry.model_version import ModelVersion
from runtime.postgres import Connection, connect

RATE = 240.0
CONNECTIONS = 24
PAYLOADS = 20_000
MORNING_HOUR = 10.0
PLAN = {"name": "demo", "steps": [{"percent": 10, "bake_seconds": 10}, {"percent": 50, "bake_seconds": 10}]}
GOOD_PLAN = {**PLAN, "backtest": GATE}
# What a day and thousands of requests show is shortened to seconds: smaller samples, larger negligible differences, and
# no Alertmanager.
LIMITS = {
    "error_rate_negligible": 0.02,
    "p95_negligible_seconds": 0.025,
    "paired_samples": 200,
    "flip_rate": 0.1,
    "psi": 0.5,
    "critical_alerts": "ignore",
}
MAX_ROLLOUT_SECONDS = 75.0
QUIET_SECONDS = 20.0
SHIPPED_SECONDS = 2.0

console = Console(highlight=False)


class DemoFailed(LabError):
    """A rollout ended differently than it must."""


@dataclass(frozen=True)
class Outcome:
    """The end of a rollout. `seconds`: from its start, or from when the canary turned bad, to its last request."""

    title: str
    state: str
    requests: int
    seconds: float
    caller_errors: int


@dataclass(frozen=True)
class Demo:
    """The processes and addresses that every rollout of the demo uses."""

    run: MakeRun
    connection: Connection
    callers: Callers
    versions: DemoVersions


def show_rollouts(home: Path) -> None:
    """Run the backtest and the three rollouts, and print a summary. Raises LabError."""
    with open_run(home, console.print) as run:
        console.print("Registering the models of this demo: production, a good one, one that raises, a slow one.")
        url, bucket = run.environment["DATABASE_URL"], run.environment["MODEL_BUCKET"]
        label = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        with connect(url, name="demo", autocommit=True) as connection:
            versions = register_demo_versions(connection, open_store(bucket), label)
            callers = Callers(
                run.port,
                run.environment["INTERNAL_SERVICE_TOKEN"],
                DEMO_PRODUCT,
                list(transactions(PAYLOADS, seed=113).payloads()),
                RATE,
                CONNECTIONS,
                prefix=f"demo-{label}",
                change=_at(MORNING_HOUR),
            )
            _wait_until_served(run)
            console.rule("0  A backtest")
            show_backtest(run, console, versions.production, versions.good, label)
            with callers:
                console.print(f"Live traffic: {RATE:.0f} payments per second.\n")
                demo = Demo(run, connection, callers, versions)
                outcomes = [show(demo) for show in (_show_good, _show_throwing, _show_slow)]
    _print_summary(outcomes)


def _show_good(demo: Demo) -> Outcome:
    console.rule("1  A good canary")
    console.print("A better model gets 10 % of the traffic. It advances when the evidence allows it, and only then.")
    console.print("The plan requires a passing backtest of it, without which the rollout would not start.")
    return _roll_out(demo, "good", demo.versions.good, GOOD_PLAN)


def _show_throwing(demo: Demo) -> Outcome:
    console.rule("2  A canary that throws")
    console.print(
        "This one raises on every payment. Production answers instead; each process stops using it by itself."
    )
    return _roll_out(demo, "throws", demo.versions.throws, PLAN)


def _show_slow(demo: Demo) -> Outcome:
    console.rule("3  A canary that turns slow")
    console.print("This one is as fast as production until the evening, when each payment takes ten milliseconds.")

    def begin_evening() -> None:
        console.print(f"  {_clock()}  the evening begins: the canary turns slow")
        demo.callers.change = _at(EVENING_HOUR + 3)

    return _roll_out(demo, "turns slow", demo.versions.slow, {"steps": [{"percent": 10}]}, later=begin_evening)


def _roll_out(
    demo: Demo, title: str, version: ModelVersion, plan: dict[str, Any], later: Callable[[], None] | None = None
) -> Outcome:
    """Start a rollout and report until it ends; `later` is called after QUIET_SECONDS."""
    errors = demo.callers.ledger.failed
    operator = demo.run.operator()
    body = {
        "product": DEMO_PRODUCT,
        "canary_percent": 10,
        "canary_model_id": version.model_id,
        "plan": plan,
        "limits": LIMITS,
        "reason": REASON,
    }
    started = operator.post("/v1/canary", body)
    began = time.time()
    console.print(f"  {_clock()}  the canary gets 10 % of the keys")
    state, reported = started, ""
    try:
        while state["state"] == "running" and time.time() - began < MAX_ROLLOUT_SECONDS:
            time.sleep(0.25)
            if later and time.time() - began > QUIET_SECONDS:
                later()
                later, began = None, time.time()
            state = operator.get(f"/v1/canary/{DEMO_PRODUCT}")
            reported = _report(state, reported)
    finally:
        if state["state"] == "running":  # it took too long, or Ctrl-C was pressed
            state = operator.post(f"/v1/canary/{DEMO_PRODUCT}/stop", {"reason": "the demo is over"})
    time.sleep(SHIPPED_SECONDS)
    requests, last = count_exposure(demo.connection, started["rollout_id"])
    failed = demo.callers.ledger.failed - errors
    outcome = Outcome(title, state["state"], requests, max(0.0, last - began), failed)
    console.print(
        f"  [bold]{outcome.state.replace('_', ' ')}[/bold]: it was given {requests} requests, the last after"
        f" {outcome.seconds:.1f} s; callers received {outcome.caller_errors} errors\n"
    )
    return outcome


def _report(state: dict[str, Any], reported: str) -> str:
    """Print the verdict if it differs from `reported`; return the latest verdict."""
    verdict = state["verdict"]
    if verdict is None:
        return reported
    news = f"{verdict['verdict']} at {state['canary_percent']:g} %"
    if news == reported:
        return reported
    sentence = {
        "hold": f"hold: {verdict['reasons'][0]}",
        "continue": f"no objection; not enough evidence yet: {_first(verdict['reasons'])}",
        "advance": f"everything passes: now at {state['canary_percent']:g} %",
        "rollback": f"rolled back: {verdict['reasons'][0]}",
    }[verdict["verdict"]]
    if state["state"] == "promoted":
        sentence = "everything passes: the canary is production now"
    console.print(f"  {_clock()}  {sentence}")
    return news


def _first(reasons: list[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}"


def count_exposure(connection: Connection, rollout_id: str) -> tuple[int, float]:
    """Return the number of requests that the canary was given, and the time of the last one in epoch seconds."""
    row = connection.execute(
        "SELECT count(*), coalesce(extract(epoch FROM max(created_at)), 0)::float8 FROM sira_predictions"
        " WHERE rollout_id = %s AND arm = 'canary'",
        (rollout_id,),
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _wait_until_served(run: MakeRun) -> None:
    """Give the workers time to load the new product: each follows the registry within seconds."""
    time.sleep(SHIPPED_SECONDS)
    if not run.is_ready():
        raise DemoFailed("the service is not ready: see its log under .sira/logs")


def _at(hour: float) -> Callable[[Payload], Payload]:
    return lambda payload: {**payload, "hour": hour}


def _clock() -> str:
    return datetime.now().strftime("%H:%M:%S")


def _print_summary(outcomes: list[Outcome]) -> None:
    table = Table("canary", "ended as", "requests exposed", "seconds", "caller errors", box=None)
    for outcome in outcomes:
        table.add_row(
            outcome.title,
            outcome.state.replace("_", " "),
            str(outcome.requests),
            f"{outcome.seconds:.1f}",
            str(outcome.caller_errors),
        )
    console.print(table)
    if [outcome.state for outcome in outcomes] != ["promoted", "rolled_back", "rolled_back"]:
        raise DemoFailed("not every canary ended as it must: see the controller's log under .sira/logs")


def main() -> None:
    try:
        show_rollouts(Path(os.environ.get("SIRA_HOME", ".sira")).resolve())
    except KeyboardInterrupt:
        sys.exit(130)
    except (LabError, RegistryError, ArchiveError, psycopg.Error) as error:
        sys.exit(f"make demo: {str(error).strip().splitlines()[0]}")
