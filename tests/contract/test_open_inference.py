"""The Open Inference Protocol on a real service: the same scores, log and token as /v1/infer."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.postgres import LocalPostgres
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, serving
from tests.support.table_model import table_model

MODEL = "/v2/models/cards"


@pytest.fixture(scope="module")
def client(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("open_inference")
    url = postgres.create_database("open_inference", template="sira_template")
    add_version(folder, url, table_model([0.1, 0.6, 0.95]), version="7")
    with (
        serving(folder, url, workers=1) as service,
        httpx.Client(base_url=service.url, headers={"authorization": f"Bearer {SERVICE_TOKEN}"}) as client,
    ):
        yield client
    postgres.drop_database("open_inference")


def amounts(*values: object, shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": "amount", "shape": shape or [len(values)], "datatype": "FP32", "data": list(values)}


def infer(client: httpx.Client, *inputs: dict[str, Any], path: str = f"{MODEL}/infer", **rest: Any) -> httpx.Response:
    return client.post(path, json={"inputs": list(inputs), **rest})


def outputs(response: httpx.Response) -> dict[str, list[Any]]:
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


def error(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return str(response.json()["error"])


def test_the_server_and_its_health_are_described_without_a_token(client: httpx.Client) -> None:
    def get(path: str) -> Any:
        return httpx.get(client.base_url.join(path)).raise_for_status().json()

    assert get("/v2")["extensions"] == ["binary_tensor_data"]
    assert get("/v2/health/live") == {"live": True}
    assert get("/v2/health/ready") == {"live": True, "ready": True}


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/7"])
def test_a_model_is_described_with_an_input_per_field(client: httpx.Client, path: str) -> None:
    described = client.get(path).json()
    assert (described["name"], described["versions"]) == ("cards", ["7"])
    assert described["inputs"] == [{"name": "amount", "datatype": "FP32", "shape": [-1]}]
    assert [output["name"] for output in described["outputs"]] == ["score", "decision", "prediction_id"]
    assert client.get(f"{path}/ready").json() == {"name": "cards", "ready": True, "live": True}


@pytest.mark.parametrize("shape", [[3], [3, 1]])
def test_rows_get_the_scores_decisions_and_ids_of_v1_infer(client: httpx.Client, shape: list[int]) -> None:
    ids = ["same-0", "same-1", "same-2"]
    found = outputs(infer(client, amounts(0, 1, 2, shape=shape), parameters={"event_id": ids}))
    for row, event_id in enumerate(ids):
        event = {"event_id": event_id, "product": "cards", "payload": {"amount": float(row)}}
        answer = client.post("/v1/infer", json=event).json()
        assert {name: values[row] for name, values in found.items()} == {name: answer[name] for name in found}


def test_bytes_may_be_flat_or_nested(client: httpx.Client) -> None:
    for data in (["nested-0", "nested-1"], [["nested-0"], ["nested-1"]]):
        ids = {"name": "event_id", "shape": [2] if data[0] == "nested-0" else [2, 1], "datatype": "BYTES", "data": data}
        assert outputs(infer(client, ids, amounts(0, 2)))["decision"] == ["allow", "block"]


def test_the_id_comes_back_and_generated_event_ids_are_named(client: httpx.Client) -> None:
    answered = infer(client, amounts(0, 1), id="mine").json()
    assert (answered["id"], answered["model_name"], answered["model_version"]) == ("mine", "cards", "7")
    assert answered["parameters"]["event_id_generated"] is True
    assert len(set(answered["parameters"]["event_id"])) == 2
    assert "parameters" not in infer(client, amounts(0), parameters={"event_id": "given"}).json()


def test_binary_tensors_are_read_and_written(client: httpx.Client) -> None:
    raw = struct.pack("<3f", 0, 1, 2)
    described = {"name": "amount", "shape": [3, 1], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    response = client.post(
        f"{MODEL}/infer", content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))}
    )
    assert response.status_code == 200
    length = int(response.headers["inference-header-content-length"])
    first = json.loads(response.content[:length])["outputs"][0]
    size = first["parameters"]["binary_data_size"]
    assert (first["name"], size) == ("score", 24)
    assert struct.unpack("<3d", response.content[length : length + size]) == pytest.approx((0.1, 0.6, 0.95), abs=1e-7)


def test_every_wrong_row_is_named_and_none_is_scored(client: httpx.Client) -> None:
    said = error(infer(client, amounts(None, 1, None)), 422)
    assert "row 0/amount" in said
    assert "row 2/amount" in said


def test_faults_of_the_tensors_are_an_error_of_the_caller(client: httpx.Client) -> None:
    assert "shape needs 3 elements" in error(infer(client, amounts(0, 1, shape=[3])), 400)
    assert "no output odds" in error(infer(client, amounts(0), outputs=[{"name": "odds"}]), 400)
    assert "not JSON" in error(client.post(f"{MODEL}/infer", content=b"{"), 400)
    assert "number of bytes" in error(
        client.post(f"{MODEL}/infer", content=b"{}", headers={"Inference-Header-Content-Length": "x"}), 400
    )


def test_what_is_not_served_is_not_found(client: httpx.Client) -> None:
    for path in ("/v2/models/nobody", f"{MODEL}/versions/8", "/v2/nothing", f"{MODEL}/nothing"):
        error(client.get(path), 404)
    error(infer(client, amounts(0), path="/v2/models/nobody/infer"), 404)


def test_another_method_is_refused(client: httpx.Client) -> None:
    error(client.get(f"{MODEL}/infer"), 405)
    error(client.post(MODEL), 405)


def test_a_head_request_has_the_answer_of_a_get_without_its_body(client: httpx.Client) -> None:
    answered = client.head(MODEL)
    assert (answered.status_code, answered.content) == (200, b"")


def test_a_product_name_may_be_percent_encoded(client: httpx.Client) -> None:
    assert client.get("/v2/models/%63ards").json()["name"] == "cards"


def test_an_event_id_given_twice_is_one_prediction(client: httpx.Client) -> None:
    found = outputs(infer(client, amounts(1, 1), parameters={"event_id": ["twice", "twice"]}))
    assert len(set(found["prediction_id"])) == 1


def test_models_and_scores_need_the_token(client: httpx.Client) -> None:
    for method, path in (("GET", MODEL), ("GET", f"{MODEL}/ready"), ("POST", f"{MODEL}/infer")):
        error(httpx.request(method, client.base_url.join(path)), 401)
