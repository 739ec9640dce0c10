"""Over HTTP: what a caller may declare about a model, and what a model that fails answers."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

from lab.demo.running import MakeRun
from tests.support.table_model import table_model

Json = dict[str, Any]


@pytest.fixture(scope="module")
def client(served: MakeRun) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as opened:
        yield opened


@pytest.fixture
def product() -> str:
    return f"declared_{uuid4().hex[:12]}"


@pytest.fixture
def register(client: httpx.Client, served: MakeRun, product: str) -> Callable[..., httpx.Response]:
    """Upload a file as a version of the test's own product; `declared` are parts of the form."""

    def upload(file: bytes, **declared: str) -> httpx.Response:
        form = {"product": product, "name": "model", "version": "1", "review": "0.5", "block": "0.9", **declared}
        return client.post(
            "/v1/models", data=form, files={"file": ("m.onnx", file)}, headers=served.bearer("ML_OPS_TOKEN")
        )

    return upload


@pytest.fixture
def infer(client: httpx.Client, served: MakeRun, product: str) -> Callable[[Json], httpx.Response]:
    """Score a payload, once the product's model has been loaded."""

    def ask(payload: Json) -> httpx.Response:
        event = {"event_id": uuid4().hex, "product": product, "payload": payload}
        deadline = time.monotonic() + 10
        while True:
            answered = client.post("/v1/infer", json=event, headers=served.bearer())
            if answered.status_code not in (404, 503) or time.monotonic() > deadline:
                return answered
            time.sleep(0.05)

    return ask


def promote(client: httpx.Client, served: MakeRun, model_id: str) -> None:
    answered = client.post(
        f"/v1/models/{model_id}/promote", json={"target": "production"}, headers=served.bearer("ML_OPS_TOKEN")
    )
    assert answered.status_code == 200, answered.text


def trees() -> bytes:
    """`Amount__EUR_` up to 100 scores 0.2, above it 0.8, and a missing value as above."""
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["Amount__EUR_"],
        ["p"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_values=[100.0, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[1, 2],
        target_ids=[0, 0],
        target_weights=[0.2, 0.8],
        n_targets=1,
    )
    model = helper.make_model(
        helper.make_graph(
            [node],
            "trees",
            [helper.make_tensor_value_info("Amount__EUR_", TensorProto.FLOAT, ["n", 1])],
            [onnx.ValueInfoProto(name="p")],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=9,
    )
    return bytes(model.SerializeToString())


def test_a_renamed_nullable_field_is_served_under_the_payloads_name(
    client: httpx.Client, served: MakeRun, register: Callable[..., httpx.Response], infer: Callable[[Json], Any]
) -> None:
    created = register(trees(), rename='{"Amount (EUR)": "Amount__EUR_"}', nullable="all")
    assert created.status_code == 201, created.text
    (field,) = created.json()["signature"]["fields"]
    assert (field["name"], field["input"], field["nullable"]) == ("Amount (EUR)", "Amount__EUR_", True)
    promote(client, served, created.json()["model_id"])
    scores = [infer(payload).json()["score"] for payload in ({"Amount (EUR)": 5}, {"Amount (EUR)": None}, {})]
    assert scores == pytest.approx([0.2, 0.8, 0.8])


def test_a_refusal_names_the_closest_field_that_was_sent_and_says_how_to_take_nulls(
    client: httpx.Client, served: MakeRun, register: Callable[..., httpx.Response], infer: Callable[[Json], Any]
) -> None:
    promote(client, served, register(trees()).json()["model_id"])
    refused = infer({"Amount (EUR)": 4111.5})
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert refused.json()["errors"] == [
        {"pointer": "/payload/Amount__EUR_", "detail": "is missing; the payload has Amount (EUR) instead"}
    ]
    assert "4111" not in refused.text
    (error,) = infer({"Amount__EUR_": None}).json()["errors"]
    assert error["pointer"] == "/payload/Amount__EUR_"
    assert "must not be null; if the model was trained with missing values" in error["detail"]
    assert "--nullable Amount__EUR_" in error["detail"]


def test_a_default_stands_in_for_an_absent_field(
    client: httpx.Client, served: MakeRun, register: Callable[..., httpx.Response], infer: Callable[[Json], Any]
) -> None:
    promote(client, served, register(trees(), default='{"Amount__EUR_": 500}').json()["model_id"])
    assert infer({}).json()["score"] == pytest.approx(0.8)
    assert infer({"Amount__EUR_": None}).status_code == 422


@pytest.mark.parametrize(
    ("declared", "pointer", "detail"),
    [
        ({"default": "{"}, "/default", "must be an object"),
        ({"rename": "[1]"}, "/rename", "must be an object"),
        ({"rename": '{"x": "y"}'}, "", "rename names y, which the model does not take"),
        ({"nullable": "x,y"}, "", "nullable names x, y, which the model does not take"),
        ({"default": '{"Amount__EUR_": "much"}'}, "", "the default of Amount__EUR_ is not a valid float"),
        ({"output": "q"}, "", "output q is not an output of the model, which are p"),
    ],
)
def test_a_wrong_declaration_is_named(
    register: Callable[..., httpx.Response], declared: dict[str, str], pointer: str, detail: str
) -> None:
    refused = register(trees(), **declared)
    assert refused.status_code == 422
    assert refused.json()["errors"] == [{"pointer": pointer, "detail": detail}]


@pytest.mark.parametrize(("amount", "why"), [(99, "raised an error"), (2, "gave no probability")])
def test_an_event_that_production_cannot_score_is_a_500_of_its_own_type_without_a_retry(
    client: httpx.Client,
    served: MakeRun,
    register: Callable[..., httpx.Response],
    infer: Callable[[Json], Any],
    amount: int,
    why: str,
) -> None:
    created = register(table_model([0.1, 0.6, math.nan]))
    assert len(created.json()["metadata"]["warnings"]) == 2, "what it cannot score was said when it was registered"
    promote(client, served, created.json()["model_id"])
    failed = infer({"amount": amount})
    problem = failed.json()
    assert (failed.status_code, failed.headers["content-type"]) == (500, "application/problem+json")
    assert (problem["type"], problem["title"]) == ("urn:sira:problem:model-failed", "Model Failed")
    assert why in problem["detail"]
    assert "retry-after" not in failed.headers
    assert infer({"amount": 1}).json()["score"] == pytest.approx(0.6), "and the next event is scored"
