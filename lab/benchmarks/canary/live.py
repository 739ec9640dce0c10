"""`python -m lab.benchmarks.canary.live`: faulty canaries on the running service, and how soon they are rolled back.

A service with two workers, a controller and Postgres on this machine, under 200 requests/s.
"""

import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from lab.demo.faulty_models import slow_above, throws_on_unknown
from lab.demo.recipes import RECIPES
from lab.demo.rollouts import count_exposure
from lab.demo.running import MakeRun, open_run
from lab.demo.transactions import CURRENCIES, transactions
from lab.demo.versions import fetch_demo_model
from lab.errors import LabError
from lab.load.callers import Callers
from lab.versions import make_production
from registry.artifacts import ArtifactStore, open_store
from registry.registration import Declaration, register
from runtime.postgres import Connection, connect

RATE = 200.0
CONNECTIONS = 24
ACTOR = "bench-canary-live"
# Errors of 0.3 %, and five times that: shares of payments whose payment method makes a model raise. No model knows
# "voucher"; the canary has forgotten "prepaid" too.
USUAL_ERRORS, FIVE_TIMES = 0.003, 0.015
MIN_AMOUNT = 2.0  # below every payment
# Rounds of work: about 3 ms, and twice that.
USUAL_ROUNDS, TWICE = 350, 700
# Of production alone, so that there is evidence of it when the canary starts.
QUIET_SECONDS = 75.0
BEFORE_CUT_SECONDS, CUT_SECONDS = 20.0, 60.0
SHIPPED_SECONDS = 3.0
LIMITS = {"critical_alerts": "ignore"}
PLAN = {"steps": [{"percent": 10, "gate": "manual"}, {"percent": 100}]}


@dataclass(frozen=True)
class Scenario:
    """`seconds`: when it must be rolled back, or until when a healthy one must run.

    `errors`: the share of requests for which callers may receive errors.
    """

    name: str
    expected: str
    seconds: float
    errors: float = 0.0


@dataclass(frozen=True)
class Measured:
    """`seconds`: from the start to the last request that the canary was given, None if it still runs."""

    scenario: Scenario
    state: str
    seconds: float | None
    canary_requests: int
    caller_errors: int
    sent: int
    reason: str

    @property
    def reached(self) -> bool:
        in_time = self.seconds is None or self.seconds <= self.scenario.seconds
        return (
            self.state == self.scenario.expected and in_time and self.caller_errors <= self.scenario.errors * self.sent
        )


THROWS = Scenario("every request fails", "rolled_back", 6)
FIVE_FOLD = Scenario("errors 0.3 % -> 1.5 %", "rolled_back", 120, errors=2 * USUAL_ERRORS)
SLOW = Scenario("p95 x 2", "rolled_back", 30)
HEALTHY = Scenario("healthy, ten minutes", "running", 600)
CUT = Scenario("healthy, Postgres away for a minute", "running", 120)
SCENARIOS = {"throws": THROWS, "errors": FIVE_FOLD, "slow": SLOW, "healthy": HEALTHY, "cut": CUT}


class Bench:
    """Registers a product for each scenario, sends its traffic, and observes its canary."""

    def __init__(self, run: MakeRun, connection: Connection, artifacts: ArtifactStore) -> None:
        self._run = run
        self._connection = connection
        self._artifacts = artifacts
        self._stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        self._payloads = list(map(_with_rare_methods, transactions(20_000, seed=113).payloads(), itertools.count()))
        self._first, self._second = (fetch_demo_model(connection, artifacts, recipe.version) for recipe in RECIPES)

    def measure(self, name: str) -> Measured:
        """Run one scenario, for minutes."""
        product = f"live_{name}_{self._stamp}"
        canary = self._versions(product, *self._models(name))
        time.sleep(SHIPPED_SECONDS)
        token = self._run.environment["INTERNAL_SERVICE_TOKEN"]
        callers = Callers(self._run.port, token, product, self._payloads, RATE, CONNECTIONS, prefix=product)
        with callers:
            time.sleep(QUIET_SECONDS)
            body = {"product": product, "canary_percent": 10, "canary_model_id": canary, "plan": PLAN, "limits": LIMITS}
            rollout = self._run.operator().post("/v1/canary", body)
            began = time.time()
            if name == "cut":
                self._cut_postgres()
            state = self._watch(product, began, SCENARIOS[name])
        time.sleep(SHIPPED_SECONDS)
        return self._measured(SCENARIOS[name], rollout["rollout_id"], state, began, callers)

    def _models(self, name: str) -> tuple[bytes, bytes]:
        """Return production and the canary of a scenario."""
        if name == "throws":
            return self._first, throws_on_unknown(self._second, "USD", forget=CURRENCIES)
        if name == "errors":
            usual = throws_on_unknown(self._first, "card")
            return usual, throws_on_unknown(self._first, "card", forget={"prepaid"})
        if name == "slow":
            production, canary = (slow_above(self._first, "amount", MIN_AMOUNT, n) for n in (USUAL_ROUNDS, TWICE))
            return production, canary
        return self._first, self._second

    def _versions(self, product: str, production: bytes, canary: bytes) -> str:
        """Register both and promote production; return the canary's model_id."""
        ids = []
        with tempfile.TemporaryDirectory(prefix="sira-live-") as folder:
            for name, content in (("production", production), ("canary", canary)):
                path = Path(folder, name)
                path.write_bytes(content)
                declaration = Declaration(product, name, "1")
                made = register(self._connection, self._artifacts, path, declaration, actor=ACTOR)
                ids.append(made.version.model_id)
        make_production(self._connection, ids[0], actor=ACTOR)
        return ids[1]

    def _cut_postgres(self) -> None:
        """Refuse connections to the database and end the open ones, for a minute."""
        url = urlsplit(self._run.environment["DATABASE_URL"])
        name = sql.Identifier(url.path.strip("/"))
        admin_url = url._replace(path="/postgres").geturl()
        time.sleep(BEFORE_CUT_SECONDS)
        with connect(admin_url, name="cut", autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            try:
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                admin.execute(cut, (url.path.strip("/"),))
                time.sleep(CUT_SECONDS)
            finally:
                admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
        self._connection = connect(self._run.environment["DATABASE_URL"], name="bench", autocommit=True)

    def _watch(self, product: str, began: float, scenario: Scenario) -> str:
        """Return the state in which it ended, or which it still has after its time and a grace period."""
        state = "running"
        grace = 0.0 if scenario.expected == "running" else scenario.seconds
        while state == "running" and time.time() - began < scenario.seconds + grace:
            time.sleep(0.25)
            with contextlib.suppress(LabError):  # while Postgres is away
                state = self._run.operator().get(f"/v1/canary/{product}")["state"]
        return state

    def _measured(self, scenario: Scenario, rollout_id: str, state: str, began: float, callers: Callers) -> Measured:
        requests, last = count_exposure(self._connection, rollout_id)
        ledger = callers.ledger
        reasons = self._connection.execute(
            "SELECT reason FROM sira_canary_rollback_log WHERE rollout_id = %s", (rollout_id,)
        ).fetchone()
        seconds = max(0.0, last - began) if state != "running" else None
        return Measured(scenario, state, seconds, requests, ledger.failed, ledger.sent, reasons[0] if reasons else "")


def _with_rare_methods(payload: dict[str, str | float], number: int) -> dict[str, str | float]:
    """Return the payload with a payment method that occurs at a fixed rate: "voucher", "prepaid", or a common one."""
    share = number % 1_000 / 1_000
    if share < USUAL_ERRORS:
        return {**payload, "payment_method": "voucher"}
    if share < FIVE_TIMES:
        return {**payload, "payment_method": "prepaid"}
    return {**payload, "payment_method": "card"} if payload["payment_method"] == "prepaid" else payload


@contextlib.contextmanager
def _bench(home: Path, console: Console) -> Iterator[Bench]:
    os.environ.setdefault("WORKERS", "2")
    with open_run(home, console.print) as run:
        url, bucket = run.environment["DATABASE_URL"], run.environment["MODEL_BUCKET"]
        with connect(url, name="bench", autocommit=True) as connection:
            yield Bench(run, connection, open_store(bucket))


def _table(measured: list[Measured]) -> Table:
    table = Table(
        "scenario", "must", "state", "rolled back after", "canary requests", "caller errors", "reached", box=None
    )
    for one in measured:
        must = "still run" if one.scenario.expected == "running" else f"roll back in {one.scenario.seconds:.0f} s"
        table.add_row(
            one.scenario.name,
            must,
            one.state.replace("_", " "),
            "" if one.seconds is None else f"{one.seconds:.1f} s",
            f"{one.canary_requests:,}",
            f"{one.caller_errors:,} of {one.sent:,}",
            "yes" if one.reached else "NO",
        )
    return table


@click.command(epilog="Example: python -m lab.benchmarks.canary.live throws slow")
@click.argument("names", nargs=-1, type=click.Choice(sorted(SCENARIOS)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(names: tuple[str, ...], as_json: bool) -> None:
    """Run the scenarios in turn, all unless some are named: a quarter of an hour. Exit status 1 if one is missed."""
    console = Console(stderr=True)
    measured = []
    try:
        with _bench(Path(os.environ.get("SIRA_HOME", ".sira")).resolve(), console) as bench:
            for name in names or tuple(SCENARIOS):
                console.print(f"{SCENARIOS[name].name} ...")
                measured.append(bench.measure(name))
    except (LabError, psycopg.Error) as error:
        sys.exit(f"bench-canary live: {str(error).splitlines()[0]}")
    if as_json:
        click.echo(json.dumps([{**asdict(one), "reached": one.reached} for one in measured], indent=2))
    else:
        Console().print(_table(measured))
    sys.exit(0 if all(one.reached for one in measured) else 1)


if __name__ == "__main__":
    main()
