"""What the input profile costs: looks of the controller at a log that has grown since the last one."""

import time

from lab import procfs
from lab.benchmarks.deployment import register_checked
from lab.benchmarks.report import Goal
from lab.benchmarks.rows import batched, predictions
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.seed import ACTOR, ARTIFACTS
from lab.benchmarks.scale.workspace import Database, Workspace
from lab.versions import make_production
from monitoring.profiler import LOOK_SECONDS, MAX_BLOCKS, Profiler
from registry.artifacts import open_store
from scoring.log.prediction import copy_text
from scoring.log.store import prepare_shipping, ship

MAX_SHARE = 2.0
_SHIPPED_ROWS = 4_000
# Events per second -> looks.
_RATES, _QUICK_RATES = {200: 20, 2_000: 20, 14_000: 8}, {200: 4, 2_000: 4}


def measure(workspace: Workspace) -> Finding:
    with workspace.database(durable=False) as database:
        bench = _Bench(workspace, database)
        rates = _QUICK_RATES if workspace.quick else _RATES
        rows = [bench.row(rate, looks) for rate, looks in rates.items()]
    return Finding(
        "The input profile",
        f"Every {LOOK_SECONDS} s the controller counts the fields of the events since its last look, eleven each, or a"
        f" sample of them from {MAX_BLOCKS} blocks of the log. Processor time is that of the look and of its session in"
        " Postgres, on average. It is spent in the controller and in Postgres, and none of it in a worker: the share"
        " says what serving would lose if all three had only one core.",
        tuple(rows),
        (growth(rows, "events/s", "share of a core %"),),
        (Goal("share of a core, %", MAX_SHARE, max(float(row["share of a core %"]) for row in rows), at_most=True),),
    )


class _Bench:
    """A version in production with reference rows, and its log."""

    def __init__(self, workspace: Workspace, database: Database) -> None:
        self._workspace = workspace
        self._database = database
        artifacts = open_store(f"file://{workspace.folder / ARTIFACTS}")
        workload, connection = workspace.workload, database.connection
        self._model_id = register_checked(connection, workload, artifacts, workload.model_path, "1")
        make_production(connection, self._model_id, actor=ACTOR)
        prepare_shipping(connection)
        fetched = workspace.folder / "fetched"
        fetched.mkdir()
        self._profiler = Profiler(artifacts, fetched)
        self._profiler.look(connection)  # makes the baseline

    def row(self, rate: int, looks: int) -> Row:
        connection = self._database.connection
        backend = connection.info.backend_pid
        counted, ours, postgres = 0, 0.0, 0.0
        for look in range(looks):
            self._workspace.report(f"look {look + 1} of {looks} at {rate:,} events/s")
            self._ship(rate * LOOK_SECONDS, f"{rate}-{look}")
            before = time.process_time(), procfs.cpu_seconds(backend)
            counted += self._profiler.look(connection)
            ours += time.process_time() - before[0]
            postgres += procfs.cpu_seconds(backend) - before[1]
        if not counted:
            raise MeasurementFailed("the looks have counted no event")
        return {
            "events/s": rate,
            "events since the last look": rate * LOOK_SECONDS,
            "of them counted": counted // looks,
            "controller CPU ms": 1e3 * ours / looks,
            "Postgres CPU ms": 1e3 * postgres / looks,
            "share of a core %": 100 * (ours + postgres) / looks / LOOK_SECONDS,
        }

    def _ship(self, count: int, tag: str) -> None:
        connection = self._database.connection
        rows = predictions(
            self._workspace.workload.payloads, count, tag=tag, started=time.time(), model_id=self._model_id
        )
        for batch in batched(rows, _SHIPPED_ROWS):
            with connection.transaction():
                ship(connection, {"predictions": [copy_text(batch)]})
