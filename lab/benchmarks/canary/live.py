"""`python -m lab.benchmarks.canary.live`: canaries that misbehave on the running service, and how soon they are out.

A service of two workers, a controller and Postgres, all real and on this machine, under 200 requests/s.
"""

import contextlib
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
import numpy as np
import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from lab.demo.faults import slow_above, throws_above
from lab.demo.recipes import PRODUCT, RECIPES
from lab.demo.seed import NAME
from lab.demo.stage import Stage, StageError, open_stage
from lab.demo.traffic import Traffic
from lab.demo.transactions import transactions
from registry.artifacts import ArtifactStore, open_store
from registry.model_version import Status
from registry.registration import Declaration, register
from registry.store import change_status, find_version
from runtime.postgres import Connection, connect

RATE = 200.0
ACTOR = "bench-canary-live"
# Errors of 0.3 % and of five times that, as shares of payments whose amount makes the model raise.
USUAL_ERRORS, FIVE_TIMES = 0.003, 0.015
# Rounds of work: about 3 ms, and twice that.
USUAL_ROUNDS, TWICE = 350, 700
# Of production alone, so that its last half minutes are known when the canary starts.
QUIET_SECONDS = 75.0
BEFORE_CUT_SECONDS, CUT_SECONDS = 20.0, 60.0
SHIPPED_SECONDS = 3.0
LIMITS = {"critical_alerts": "ignore"}
PLAN = {"steps": [{"percent": 10, "gate": "manual"}, {"percent": 100}]}


@dataclass(frozen=True)
class Scenario:
    """`seconds`: how soon it must be out; a healthy one must still run after them. `errors`: what callers may see."""

    name: str
    expected: str
    seconds: float
    errors: float = 0.0


@dataclass(frozen=True)
class Measured:
    """`seconds`: from the start to the last request the canary was given, None when it still runs."""

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
    """Registers a product for each scenario, runs its traffic, and watches its canary."""

    def __init__(self, stage: Stage, connection: Connection, artifacts: ArtifactStore) -> None:
        self._stage = stage
        self._connection = connection
        self._artifacts = artifacts
        self._stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        self._payloads = list(transactions(20_000, seed=113).payloads())
        self._amounts = np.array([payload["amount"] for payload in self._payloads], dtype=np.float64)
        self._first, self._second = (self._artifact(recipe.version) for recipe in RECIPES)

    def run(self, name: str) -> Measured:
        product = f"live_{name}_{self._stamp}"
        canary = self._versions(product, *self._models(name))
        time.sleep(SHIPPED_SECONDS)
        token = self._stage.environment["INTERNAL_SERVICE_TOKEN"]
        with Traffic(self._stage.port, token, product, self._payloads, RATE) as traffic:
            time.sleep(QUIET_SECONDS)
            body = {"product": product, "canary_percent": 10, "canary_model_id": canary, "plan": PLAN, "limits": LIMITS}
            rollout = self._stage.operate("POST", "/v1/canary", body)
            began = time.time()
            if name == "cut":
                self._cut_postgres()
            state = self._watch(product, began, SCENARIOS[name])
        time.sleep(SHIPPED_SECONDS)
        return self._measured(SCENARIOS[name], rollout["rollout_id"], state, began, traffic)

    def _models(self, name: str) -> tuple[bytes, bytes]:
        """What production and the canary are in a scenario."""
        if name == "throws":
            return self._first, throws_above(self._second, "amount", 2.0)
        if name == "errors":
            usual, more = (float(np.quantile(self._amounts, 1.0 - share)) for share in (USUAL_ERRORS, FIVE_TIMES))
            return throws_above(self._first, "amount", usual), throws_above(self._first, "amount", more)
        if name == "slow":
            return slow_above(self._first, "amount", 2.0, USUAL_ROUNDS), slow_above(self._first, "amount", 2.0, TWICE)
        return self._first, self._second

    def _versions(self, product: str, production: bytes, canary: bytes) -> str:
        """Registers both and gives production its place; the canary's model_id."""
        ids = []
        with tempfile.TemporaryDirectory(prefix="sira-live-") as folder:
            for name, content in (("production", production), ("canary", canary)):
                path = Path(folder, name)
                path.write_bytes(content)
                declaration = Declaration(product, name, "1")
                made = register(self._connection, self._artifacts, path, declaration, actor=ACTOR)
                ids.append(made.version.model_id)
        with self._connection.transaction():
            change_status(self._connection, ids[0], Status.PRODUCTION, actor=ACTOR)
        return ids[1]

    def _artifact(self, version: str) -> bytes:
        with self._connection.transaction():
            found = find_version(self._connection, PRODUCT, NAME, version)
        assert found is not None, "make run registers it"
        with tempfile.TemporaryDirectory(prefix="sira-live-") as folder:
            path = self._artifacts.fetch(found.storage_s3_key, found.sha256, found.size_bytes, Path(folder))
            return path.read_bytes()

    def _cut_postgres(self) -> None:
        """Nobody can connect to the database, and those who were are cut off; after a minute all is well again."""
        url = urlsplit(self._stage.environment["DATABASE_URL"])
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
        self._connection = connect(self._stage.environment["DATABASE_URL"], name="bench", autocommit=True)

    def _watch(self, product: str, began: float, scenario: Scenario) -> str:
        """The state it ended in, or still has when its time is over and a little more."""
        state = "running"
        grace = 0.0 if scenario.expected == "running" else scenario.seconds
        while state == "running" and time.time() - began < scenario.seconds + grace:
            time.sleep(0.25)
            with contextlib.suppress(StageError):  # while Postgres is away
                state = self._stage.operate("GET", f"/v1/canary/{product}")["state"]
        return state

    def _measured(self, scenario: Scenario, rollout_id: str, state: str, began: float, traffic: Traffic) -> Measured:
        row = self._connection.execute(
            "SELECT count(*), coalesce(extract(epoch FROM max(created_at)), 0)::float8 FROM sira_predictions"
            " WHERE rollout_id = %s AND arm = 'canary'",
            (rollout_id,),
        ).fetchone()
        assert row is not None
        reasons = self._connection.execute(
            "SELECT reason FROM sira_canary_rollback_log WHERE rollout_id = %s", (rollout_id,)
        ).fetchone()
        seconds = max(0.0, row[1] - began) if state != "running" else None
        return Measured(scenario, state, seconds, row[0], traffic.failed, traffic.sent, reasons[0] if reasons else "")


@contextlib.contextmanager
def _bench(home: Path, console: Console) -> Iterator[Bench]:
    os.environ.setdefault("WORKERS", "2")
    with open_stage(home, console.print) as stage:
        url, bucket = stage.environment["DATABASE_URL"], stage.environment["MODEL_BUCKET"]
        with connect(url, name="bench", autocommit=True) as connection:
            yield Bench(stage, connection, open_store(bucket))


def _table(measured: list[Measured]) -> Table:
    table = Table("scenario", "must", "state", "out after", "canary requests", "caller errors", "reached", box=None)
    for one in measured:
        must = "still run" if one.scenario.expected == "running" else f"be out in {one.scenario.seconds:.0f} s"
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
                measured.append(bench.run(name))
    except (StageError, psycopg.Error) as error:
        sys.exit(f"bench-canary live: {str(error).splitlines()[0]}")
    if as_json:
        click.echo(json.dumps([{**asdict(one), "reached": one.reached} for one in measured], indent=2))
    else:
        Console().print(_table(measured))
    sys.exit(0 if all(one.reached for one in measured) else 1)


if __name__ == "__main__":
    main()
