"""`sira.client` against a real service."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lab.demo.running import StartedRun
from lab.ports import free_port
from lab.postgres import LocalPostgres
from lab.product import Service
from sira.client import (
    AsyncSiraClient,
    EventLabel,
    EventProblem,
    NotAdmitted,
    RequestInvalid,
    ScoredEvent,
    ServiceUnreachable,
    SiraClient,
    Transaction,
)
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, serving
from tests.support.log_rows import wait_until
from tests.support.table_model import table_model

CARDS = "cards"


@pytest.fixture(scope="module")
def service(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("client")
    url = postgres.create_database("client", template="sira_template")
    add_version(folder, url, table_model([0.1, 0.6, 0.95]))
    with serving(folder, url, workers=1) as service:
        yield service
    postgres.drop_database("client")


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[SiraClient]:
    with SiraClient(service.url, SERVICE_TOKEN, timeout_seconds=10) as client:
        yield client


def test_an_event_repeated_has_the_same_prediction(client: SiraClient) -> None:
    first = client.infer(CARDS, {"amount": 2.0}, event_id="again", routing_key="card-1")
    second = client.infer(CARDS, {"amount": 2.0}, event_id="again", routing_key="card-1")
    assert (first.decision, first.model_version, first.variant) == ("block", "1", "production")
    assert first.prediction_id == second.prediction_id


def test_an_event_without_an_id_is_scored(client: SiraClient) -> None:
    assert client.infer(CARDS, {"amount": 0.0}).decision == "allow"


def test_a_batch_of_any_size_answers_each_event_in_its_place(client: SiraClient) -> None:
    events = [Transaction(CARDS, {"amount": float(n % 3)}, f"b{n}") for n in range(1_500)]
    events[7] = Transaction(CARDS, {"amount": "much"}, "b7")
    results = client.infer_batch(events)
    assert len(results) == 1_500
    wrong = results.pop(7)
    assert isinstance(wrong, EventProblem)
    assert (wrong.status, wrong.errors[0].pointer) == (422, "/payload/amount")
    assert {result.decision for result in results if isinstance(result, ScoredEvent)} == {"allow", "review", "block"}
    assert client.infer_batch([]) == []


def test_every_wrong_field_is_named_and_no_value(client: SiraClient) -> None:
    with pytest.raises(RequestInvalid) as raised:
        client.infer("", {"amount": "much"})
    assert "/product" in str(raised.value)
    assert "much" not in str(raised.value)


def test_a_wrong_token_is_not_admitted(service: Service) -> None:
    with SiraClient(service.url, "wrong") as client, pytest.raises(NotAdmitted):
        client.infer(CARDS, {"amount": 1.0})


def test_labels_are_counted_once(client: SiraClient) -> None:
    labels = [EventLabel("again", CARDS, "fraud", "chargeback", datetime(2026, 1, 2, tzinfo=UTC))]
    first, second = client.add_labels(labels), client.add_labels(labels)
    assert (first.received, first.new, second.received, second.new) == (1, 1, 1, 0)


def test_the_asyncio_client_gives_the_same_answers(service: Service, client: SiraClient) -> None:
    async def both() -> tuple[ScoredEvent, list[ScoredEvent | EventProblem]]:
        async with AsyncSiraClient(service.url, SERVICE_TOKEN, timeout_seconds=10) as asking:
            one = await asking.infer(CARDS, {"amount": 1.0}, event_id="async")
            return one, await asking.infer_batch([Transaction(CARDS, {"amount": 1.0}, "async")])

    one, many = asyncio.run(both())
    assert many == [client.infer(CARDS, {"amount": 1.0}, event_id="async")]
    assert one.prediction_id == client.infer(CARDS, {"amount": 1.0}, event_id="async").prediction_id


def test_reasons_come_with_an_answer_when_they_are_asked_for(served: StartedRun) -> None:
    payload = {"amount": 950, "currency": "USD", "country": "US", "payment_method": "card", "attempts_last_hour": 4}
    with SiraClient(served.url, served.environment["INTERNAL_SERVICE_TOKEN"], timeout_seconds=10) as demo:
        assert demo.infer("fraud_score", payload).reasons is None
        assert wait_until(lambda: demo.infer("fraud_score", payload, reasons=True).reasons is not None)
        reasons = demo.infer("fraud_score", payload, reasons=True).reasons
    assert reasons is not None
    assert [reason.rank for reason in reasons] == [1, 2, 3, 4]
    assert (reasons[0].field, reasons[0].code) == ("attempts_last_hour", "R07")


def test_no_service_is_an_error_after_all_attempts() -> None:
    refused = pytest.raises(ServiceUnreachable, match="ConnectError after 3 attempts")
    with SiraClient(f"http://127.0.0.1:{free_port()}", "x") as client, refused:
        client.infer(CARDS, {})


def test_it_imports_nothing_of_the_service(tmp_path: Path) -> None:
    script = "import sys, sira.client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"scoring", "edge", "registry", "canary", "runtime", "bentoml", "numpy", "onnxruntime"}
