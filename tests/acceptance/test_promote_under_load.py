"""A new model under load: nobody is refused, and within a second every worker answers by it."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from tests.support.log_rows import wait_until
from tests.support.table_model import table_model

PAYLOADS = [{"amount": n % 4} for n in range(1000)]
PER_SECOND = 300.0


@dataclass
class TimedLedger(Ledger):
    """Also keeps when each request began and which model answered it."""

    course: list[tuple[float, str]] = field(default_factory=list)

    def answer(self, event_id: str, answer: dict[str, Any], seconds: float) -> None:
        super().answer(event_id, answer, seconds)
        self.course.append((time.monotonic() - seconds, answer["model_id"]))


@dataclass
class Site:
    service: Service
    database_url: str
    first: str
    second: str

    def promote(self, model_id: str) -> float:
        """When the promotion was answered."""
        answered = ask(f"{self.service.url}/v1/models/{model_id}/promote", person(), {"target": "production"})
        assert answered.status == 200
        return time.monotonic()

    def callers(self, prefix: str, ledger: Ledger) -> Callers:
        return Callers(
            self.service.port,
            SERVICE_TOKEN,
            "cards",
            PAYLOADS,
            PER_SECOND,
            connections=8,
            prefix=prefix,
            repeat_every=20,
            ledger=ledger,
        )


@pytest.fixture(scope="module")
def site(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("promote")
    url = postgres.create_database("promote_under_load", template="sira_template")
    first = add_version(folder, url, table_model([0.1, 0.2, 0.3, 0.4]))
    second = add_version(folder, url, table_model([0.5, 0.6, 0.7, 0.8]), "2", Status.STAGING)
    with serving(folder, url, workers=2) as service:
        yield Site(service, url, first, second)
    postgres.drop_database("promote_under_load")


def test_no_request_fails_and_within_a_second_every_worker_answers_by_the_new_model(
    site: Site,
) -> None:
    ledger = TimedLedger()
    with site.callers("there-and-back", ledger):
        promoted = []
        for model_id in (site.second, site.first, site.second):
            time.sleep(1.5)
            promoted.append((site.promote(model_id), model_id))
        time.sleep(1.5)
    assert (ledger.broken, dict(ledger.refused), ledger.contradicted) == (0, {}, 0)
    assert len(ledger.course) > 4 * PER_SECOND
    for at, model_id in promoted:
        seconds_later = {answered_by for began, answered_by in ledger.course if at + 1 <= began < at + 1.5}
        assert seconds_later == {model_id}


def test_sigterm_under_load_finishes_what_is_under_way_and_logs_it_all(site: Site) -> None:
    ledger = Ledger()
    with site.callers("last", ledger):
        assert wait_until(lambda: ledger.answered > PER_SECOND)
        code, seconds = site.service.process.terminate(15)
    assert (code, dict(ledger.refused)) == (0, {})
    assert seconds < 10
    with connect(site.database_url, name="tests") as connection:
        rows = connection.execute(
            "SELECT prediction_id::text, score FROM sira_predictions WHERE event_id LIKE 'last-%'"
        ).fetchall()
    assert len(rows) == len({prediction_id for prediction_id, _ in rows})
    logged = dict(rows)
    assert {prediction_id: given.score for prediction_id, given in ledger.answers.items()}.items() <= logged.items()
    said = [json.loads(line) for line in site.service.process.log.read_text().splitlines() if line.startswith("{")]
    assert [line["event"] for line in said if line["level"] in ("error", "critical")] == []
