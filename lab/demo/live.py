"""`make demo`: three canaries in turn under live traffic, told as it happens. Under three minutes."""

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

from lab.demo.cast import DEMO_PRODUCT, EVENING, Cast, engage
from lab.demo.stage import Stage, StageError, open_stage
from lab.demo.traffic import Payload, Traffic
from lab.demo.transactions import transactions
from registry import RegistryError
from registry.artifacts import open_store
from registry.model_version import ModelVersion
from runtime.postgres import Connection, connect

RATE = 240.0
PLAN = {"name": "demo", "steps": [{"percent": 10, "bake_seconds": 10}, {"percent": 50, "bake_seconds": 10}]}
# What a day and thousands of requests show is shortened to seconds: smaller samples, a coarser idea of what is
# negligible, and nobody's Alertmanager is asked.
LIMITS = {
    "error_rate_negligible": 0.02,
    "p95_negligible_seconds": 0.025,
    "paired_samples": 200,
    "flip_rate": 0.1,
    "psi": 0.5,
    "critical_alerts": "ignore",
}
LONGEST_ACT_SECONDS = 75.0
QUIET_SECONDS = 20.0
SHIPPED_SECONDS = 2.0

console = Console(highlight=False)


@dataclass(frozen=True)
class Outcome:
    """How an act ended. `seconds`: from when the canary went wrong, or began, to the last request it was given."""

    title: str
    state: str
    requests: int
    seconds: float
    caller_errors: int


@dataclass(frozen=True)
class Theatre:
    """Everything an act needs."""

    stage: Stage
    connection: Connection
    traffic: Traffic


def play(home: Path) -> None:
    with open_stage(home, console.print) as stage:
        console.print("Registering this performance's models: one for production, one good, one that throws, one slow.")
        url, bucket = stage.environment["DATABASE_URL"], stage.environment["MODEL_BUCKET"]
        with connect(url, name="demo", autocommit=True) as connection:
            performance = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            cast = engage(connection, open_store(bucket), performance)
            traffic = Traffic(
                stage.port,
                stage.environment["INTERNAL_SERVICE_TOKEN"],
                DEMO_PRODUCT,
                transactions(20_000, seed=113).payloads(),
                RATE,
            )
            traffic.change = _at(10.0)
            _wait_until_served(stage)
            with traffic:
                console.print(f"Live traffic begins: {RATE:.0f} payments a second.\n")
                theatre = Theatre(stage, connection, traffic)
                outcomes = [act(theatre, cast) for act in (_good, _throws, _turns_slow)]
    _print_summary(outcomes)


def _good(theatre: Theatre, cast: Cast) -> Outcome:
    console.rule("1  A good canary")
    console.print("A better model takes 10 % of the traffic. It goes up when the evidence says so, and only then.")
    return _act(theatre, "good", cast.good)


def _throws(theatre: Theatre, cast: Cast) -> Outcome:
    console.rule("2  A canary that throws")
    console.print("This one raises on every payment. Production answers instead; each process cuts it off by itself.")
    return _act(theatre, "throws", cast.throws)


def _turns_slow(theatre: Theatre, cast: Cast) -> Outcome:
    console.rule("3  A canary that turns slow")
    console.print("This one is as fast as production, until the evening's payments take it ten milliseconds each.")

    def evening() -> None:
        console.print(f"  {_clock()}  evening falls: the canary turns slow")
        theatre.traffic.change = _at(EVENING + 3)

    return _act(theatre, "turns slow", cast.slow, later=evening)


def _act(theatre: Theatre, title: str, version: ModelVersion, later: Callable[[], None] | None = None) -> Outcome:
    """Start the canary, tell what happens until it ends; `later` happens after a quiet while."""
    errors = theatre.traffic.failed
    body = {
        "product": DEMO_PRODUCT,
        "canary_percent": 10,
        "canary_model_id": version.model_id,
        "plan": PLAN if later is None else {"steps": [{"percent": 10}]},
        "limits": LIMITS,
        "reason": "make demo",
    }
    started = theatre.stage.operate("POST", "/v1/canary", body)
    began = time.time()
    console.print(f"  {_clock()}  the canary gets 10 % of the keys")
    state, told = started, ""
    try:
        while state["state"] == "running" and time.time() - began < LONGEST_ACT_SECONDS:
            time.sleep(0.25)
            if later and time.time() - began > QUIET_SECONDS:
                later()
                later, began = None, time.time()
            state = theatre.stage.operate("GET", f"/v1/canary/{DEMO_PRODUCT}")
            told = _tell(state, told)
    finally:
        if state["state"] == "running":  # it took too long, or someone pressed Ctrl-C
            state = theatre.stage.operate("POST", f"/v1/canary/{DEMO_PRODUCT}/stop", {"reason": "the act is over"})
    time.sleep(SHIPPED_SECONDS)
    requests, last = _exposure(theatre.connection, started["rollout_id"])
    outcome = Outcome(title, state["state"], requests, max(0.0, last - began), theatre.traffic.failed - errors)
    console.print(
        f"  [bold]{outcome.state.replace('_', ' ')}[/bold]: {requests} requests were given to it, the last"
        f" {outcome.seconds:.1f} s in; callers saw {outcome.caller_errors} errors\n"
    )
    return outcome


def _tell(state: dict[str, Any], told: str) -> str:
    """Say what is new; returns what was said."""
    verdict = state["verdict"]
    if verdict is None:
        return told
    news = f"{verdict['verdict']} at {state['canary_percent']:g} %"
    if news == told:
        return told
    sentence = {
        "hold": f"hold: {verdict['reasons'][0]}",
        "continue": f"so far, so good; not yet shown: {_first(verdict['reasons'])}",
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


def _exposure(connection: Connection, rollout_id: str) -> tuple[int, float]:
    """Requests that the canary was given, and when the last of them came, in epoch seconds."""
    row = connection.execute(
        "SELECT count(*), coalesce(extract(epoch FROM max(created_at)), 0)::float8 FROM sira_predictions"
        " WHERE rollout_id = %s AND arm = 'canary'",
        (rollout_id,),
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def _wait_until_served(stage: Stage) -> None:
    """Every worker follows the registry within seconds; the demo's product is new to them."""
    time.sleep(SHIPPED_SECONDS)
    if not stage.ready():
        raise StageError("the service is not ready: see its log under .sira/logs")


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
        raise StageError("not every canary ended as it should have: see the controller's log under .sira/logs")


def main() -> None:
    try:
        play(Path(os.environ.get("SIRA_HOME", ".sira")).resolve())
    except KeyboardInterrupt:
        sys.exit(130)
    except (StageError, RegistryError, psycopg.Error) as error:
        sys.exit(f"make demo: {str(error).strip().splitlines()[0]}")
