"""BentoML's own client calls `infer` as it would any BentoML service, through the same path as every other caller."""

from collections.abc import Iterator
from pathlib import Path

import bentoml
import pytest

from lab.http import ask
from lab.postgres import LocalPostgres
from lab.product import Service
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, serving
from tests.support.table_model import table_model

EVENT = {"event_id": "bento", "product": "cards", "payload": {"amount": 2.0}}


@pytest.fixture(scope="module")
def service(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("bento_client")
    url = postgres.create_database("bento_client", template="sira_template")
    add_version(folder, url, table_model([0.1, 0.6, 0.95]))
    with serving(folder, url, workers=1) as service:
        yield service
    postgres.drop_database("bento_client")


def test_its_answer_is_that_of_v1_infer(service: Service) -> None:
    with bentoml.SyncHTTPClient(service.url, token=SERVICE_TOKEN) as client:
        assert client.is_ready()
        answer = client.infer(**EVENT)
    again = ask(f"{service.url}/v1/infer", SERVICE_TOKEN, EVENT).body
    assert answer["decision"] == "block"
    assert {**answer, "cached": True} == again


def test_a_call_without_a_token_is_refused(service: Service) -> None:
    with bentoml.SyncHTTPClient(service.url) as client, pytest.raises(bentoml.exceptions.BentoMLException) as refused:
        client.infer(**EVENT)
    assert refused.value.error_code == 401
