"""Clients that nobody here wrote use the Open Inference Protocol: those of Triton, of KServe, and MLServer's types."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.clients.client import CLIENTS, OpenInferenceClient
from lab.postgres import LocalPostgres
from lab.product import Service
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, serving
from tests.support.table_model import table_model

BY_NAME = {client.name: client for client in CLIENTS}


@pytest.fixture(scope="module")
def service(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("clients")
    url = postgres.create_database("clients", template="sira_template")
    add_version(folder, url, table_model([0.1, 0.6, 0.95]))
    with serving(folder, url, workers=1) as service:
        yield service
    postgres.drop_database("clients")


@pytest.fixture(scope="module", params=sorted(BY_NAME))
def found(request: pytest.FixtureRequest, service: Service) -> dict[str, Any]:
    """What one client received."""
    client: OpenInferenceClient = BY_NAME[request.param]
    try:
        client.install()
    except subprocess.CalledProcessError as failed:
        if "No matching distribution" not in failed.stderr:
            raise  # a lock that does not hold is a fault, not a reason to skip
        pytest.skip(f"the package index does not have {client.name}")
    return client.score(f"127.0.0.1:{service.port}", SERVICE_TOKEN, "cards")


def test_a_client_gets_the_scores_and_decisions_of_v1_infer(found: dict[str, Any], service: Service) -> None:
    expected = []
    for amount, event_id in enumerate("abc"):
        event = {"event_id": event_id, "product": "cards", "payload": {"amount": float(amount)}}
        headers = {"authorization": f"Bearer {SERVICE_TOKEN}"}
        expected.append(httpx.post(f"{service.url}/v1/infer", json=event, headers=headers).json())
    for answer in (found["json"], found.get("binary", found["json"])):
        assert answer["id"] == "mine"
        assert answer["scores"] == [one["score"] for one in expected]
        assert answer["decisions"] == [one["decision"] for one in expected]


def test_a_client_sees_what_is_ready_and_what_a_model_takes(found: dict[str, Any]) -> None:
    assert found.get("live", True)
    assert found.get("ready", True)
    assert found.get("model_ready", True)
    assert found.get("inputs", [{"name": "amount", "datatype": "FP32", "shape": [-1]}]) == [
        {"name": "amount", "datatype": "FP32", "shape": [-1]}
    ]


def test_a_client_reads_the_reason_of_a_refusal(found: dict[str, Any]) -> None:
    assert "input everything: has 7 columns, the model takes 1" in found["refused"]
