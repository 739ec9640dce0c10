"""The served product: an embedded Postgres with a past week, a service with two workers, and a controller."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.benchmarks.monitoring import alarms
from lab.benchmarks.monitoring.alarms import ON_HOLD, Alarm
from lab.http import Client, ask
from lab.load.callers import Callers, Payload
from lab.postgres import LocalPostgres
from lab.product import Controller, Product, Service
from lab.versions import open_artifacts
from migrations import runner
from registry.artifacts import ArtifactStore
from runtime.postgres import Connection, connect

CONNECTIONS = 16
# The past week is for the guard; archiving it would take the cores from what is measured. No Alertmanager runs.
SETTINGS = {"ARCHIVE": "false", "CANARY_CRITICAL_ALERTS": "ignore"}
STOP_SECONDS = 10.0

Prepare = Callable[[Connection, ArtifactStore, str], None]
"""Registers versions and writes their past: it is given a connection, the artifacts and the database's URL."""


@dataclass(frozen=True)
class Stack:
    """Running processes, and `connection` to their database."""

    product: Product
    service: Service
    controller: Controller
    connection: Connection

    def operator(self) -> Client:
        """Return a client of the control routes, as the runbook calls them, with the role ml_ops."""
        return self.product.operator(self.controller)

    def callers(self, product: str, payloads: list[Payload], per_second: float, prefix: str) -> Callers:
        token = self.product.service_token
        return Callers(self.service.port, token, product, payloads, per_second, CONNECTIONS, prefix=prefix)

    def alarms(self, product: str) -> set[Alarm]:
        """Return what both processes report as wrong with a product now."""
        expositions = (ask(f"{process.url}/metrics").text for process in (self.controller, self.service))
        found = {alarm for text in expositions for alarm in alarms.firing(text, product)}
        return found if ON_HOLD not in found else found - {ON_HOLD} | set(self._holding(product))

    def _holding(self, product: str) -> Iterator[Alarm]:
        """Yield the measurements for which the product's rollout holds: the metric does not name them."""
        verdict = self.operator().get(f"/v1/canary/{product}")["verdict"]
        for measurement in verdict["measurements"] if verdict else ():
            if measurement["outcome"] == "hold":
                yield Alarm(ON_HOLD.alert, measurement["name"])


@contextmanager
def serving(folder: Path, prepare: Prepare) -> Iterator[Stack]:
    """Start Postgres and migrate, call `prepare`, start the processes; end all on exit.

    The past is written first: the guard reads it when the controller starts, and then once an hour.
    """
    with (
        LocalPostgres.start(folder / "postgres") as postgres,
        serving_over(folder, postgres.create_database("sira"), prepare) as stack,
    ):
        yield stack


@contextmanager
def serving_over(folder: Path, database_url: str, prepare: Prepare) -> Iterator[Stack]:
    """Do the same over an existing database."""
    with (
        Product.over(folder, database_url, settings=SETTINGS, stop_seconds=STOP_SECONDS) as product,
        connect(database_url, name="monitoring", autocommit=True) as connection,
    ):
        runner.up(connection)
        prepare(connection, open_artifacts(product.environment), database_url)
        controller = product.start_controller()
        service = product.start_service()
        controller.await_ready()
        service.await_ready()
        yield Stack(product, service, controller, connection)
