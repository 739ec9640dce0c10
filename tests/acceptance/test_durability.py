"""Nothing answered is ever lost: a worker killed again and again, and Postgres gone, under load.

`python -m lab.faults` does the same and more for as long as one likes; SIRA_KILLS=50 makes this file do it longer.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.http import ask
from lab.load.callers import Callers
from lab.load.ledger import Ledger
from lab.postgres import LocalPostgres
from lab.product import Service
from registry.model_version import Status
from runtime.postgres import connect
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, person, serving
from tests.support.database_away import away
from tests.support.log_rows import wait_until
from tests.support.table_model import table_model

KILLS = int(os.environ.get("SIRA_KILLS", "3"))
SCORES = [0.1, 0.6, 0.95, 0.3]
PAYLOADS = [{"amount": n % 4} for n in range(1000)]


@dataclass(frozen=True)
class Site:
    service: Service
    database_url: str

    def callers(self, prefix: str) -> Callers:
        port = self.service.port
        return Callers(port, SERVICE_TOKEN, "cards", PAYLOADS, connections=8, prefix=prefix, repeat_every=20)

    def logged(self, prefix: str) -> list[tuple[str, float | None, str]]:
        with connect(self.database_url, name="tests") as connection:
            return connection.execute(
                "SELECT prediction_id::text, score, model_id::text FROM sira_predictions WHERE event_id LIKE %s",
                (f"{prefix}-%",),
            ).fetchall()

    def uncounted(self) -> int:
        """Predictions of a rollout that its evidence does not count, or counts twice."""
        with connect(self.database_url, name="tests") as connection:
            row = connection.execute(
                "SELECT abs((SELECT coalesce(sum(requests), 0) FROM sira_canary_evidence WHERE phase >= 0)"
                " - (SELECT count(*) FROM sira_predictions WHERE rollout_id IS NOT NULL))::int"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def holds(self, ledger: Ledger, prefix: str) -> bool:
        """Return whether every answer is in the log once, as it was given."""
        rows = self.logged(prefix)
        given = {identity: (answer.score, answer.model_id) for identity, answer in ledger.answers.items()}
        found = {identity: (score, model_id) for identity, score, model_id in rows}
        assert len(rows) == len(found)
        return given.items() <= found.items()


@pytest.fixture(scope="module")
def site(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers, and a canary that answers every other event."""
    folder: Path = tmp_path_factory.mktemp("durability")
    url = postgres.create_database("durability", template="sira_template")
    add_version(folder, url, table_model(SCORES))
    canary = add_version(folder, url, table_model([score + 0.01 for score in SCORES]), "2", Status.STAGING)
    with serving(folder, url, workers=2) as service:
        body = {"product": "cards", "canary_percent": 50, "canary_model_id": canary}
        assert ask(f"{service.url}/v1/canary", person(), body).status == 201
        assert wait_until(lambda: service.metric("sira_model_info", 'variant="canary"') == 1)
        yield Site(service, url)
    postgres.drop_database("durability")


@pytest.mark.timeout(60 + 20 * KILLS)
def test_kill_9_of_a_worker_under_load_loses_nothing_and_doubles_nothing(site: Site) -> None:
    callers = site.callers("killed")
    ledger = callers.ledger
    with callers:
        for _ in range(KILLS):
            time.sleep(random.uniform(0.3, 1.2))
            workers = site.service.workers()
            os.kill(random.choice(workers), signal.SIGKILL)
            assert wait_until(lambda workers=workers: len(set(site.service.workers()) - set(workers)) == 1, 30)  # type: ignore[misc]
            site.service.await_ready()
    assert ledger.answered > 200
    assert (dict(ledger.refused), ledger.contradicted) == ({}, 0)
    assert wait_until(lambda: site.holds(ledger, "killed"), 30)
    assert wait_until(lambda: site.uncounted() == 0, 10)


def test_while_postgres_is_gone_every_caller_is_answered_and_every_row_arrives_after(
    site: Site, postgres: LocalPostgres
) -> None:
    callers = site.callers("gone")
    ledger = callers.ledger
    with connect(postgres.url("postgres"), name="tests", autocommit=True) as admin, callers:
        time.sleep(0.5)
        away(admin, site.database_url, True)
        before = ledger.answered
        time.sleep(3)
        assert ledger.answered - before > 3 * 200 * 0.8
        assert site.service.metric("sira_log_spool_rows") > 200
        away(admin, site.database_url, False)
        time.sleep(0.5)
    assert (ledger.broken, dict(ledger.refused), ledger.contradicted) == (0, {}, 0)
    assert wait_until(lambda: site.holds(ledger, "gone"), 30)
    assert wait_until(lambda: site.uncounted() == 0, 10)
    assert wait_until(lambda: site.service.metric("sira_log_spool_rows") == 0, 10)
