"""The API's own description is true for every route, and opens without a network."""

import json
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from edge import api, infer_bodies
from edge.open_inference import bodies
from lab.demo.running import MakeRun
from tests.support.table_model import table_model

LABELLED_AT = "2026-01-31T08:00:00Z"
SCORING = (*infer_bodies.ROUTES, *bodies.ROUTES)
ROUTES = (*SCORING, *api.control_routes(list, list))
OPERATIONS = [(route.method, route.path) for route in ROUTES]


@pytest.fixture(scope="module")
def client(served: MakeRun) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> dict[str, Any]:
    answered = client.get("/openapi.json")
    assert (answered.status_code, answered.headers["content-type"]) == (200, "application/json")
    return dict(answered.json())


def operations(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_every_route_is_documented_and_every_documented_route_is_there(document: dict[str, Any]) -> None:
    assert operations(document) == set(OPERATIONS)


def test_the_controller_describes_what_it_answers_itself(served: MakeRun, document: dict[str, Any]) -> None:
    described = httpx.get(f"{served.control_url}/openapi.json", trust_env=False).json()
    scoring = {(route.method, route.path) for route in SCORING}
    assert operations(described) == operations(document) - scoring


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_every_operation_that_needs_a_token_documents_401_and_403(document: dict[str, Any]) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            documented = {"401", "403"} & operation["responses"].keys()
            any_token = {} in operation["security"] or operation["description"].endswith("of any role.")
            assert documented == ({"401"} if any_token else {"401", "403"} if operation["security"] else set())


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name == "href" and value:
                (self.links if tag == "a" else self.loads).add(value)
            if name == "src" and value:
                self.loads.add(value)
        assert tag != "script" or not attrs


def test_the_page_names_every_route_and_loads_nothing(client: httpx.Client, document: dict[str, Any]) -> None:
    answered = client.get("/docs")
    assert answered.headers["content-type"] == "text/html; charset=utf-8"
    page = Page()
    page.feed(answered.text)
    assert page.loads == {"data:,"}
    assert {link for link in page.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    for path in document["paths"]:
        assert f"<code>{path}</code>" in answered.text
    assert set(re.findall(r"https?://[\w.:]+", answered.text)) == {"http://localhost:8080"}


# ---------------------------------------------------------------- real answers hold no field that is not described


def strict(schema: Any) -> Any:
    """The same schema, refusing what it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tight = {name: strict(value) for name, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        tight["additionalProperties"] = False
    return tight


@pytest.fixture(scope="module")
def as_described(document: dict[str, Any]) -> Callable[[str, httpx.Response], Any]:
    """`as_described(path, response)`: its JSON, checked against the strictest reading of the document."""

    def check(path: str, answered: httpx.Response) -> Any:
        operation = document["paths"][path][answered.request.method.lower()]
        media_type = answered.headers["content-type"].partition(";")[0]
        schema = operation["responses"][str(answered.status_code)]["content"][media_type]["schema"]
        found = answered.json()
        jsonschema.validate(found, strict({**schema, "components": document["components"]}))
        return found

    return check


PRODUCT = "described"
DEMO_PAYLOAD = {"amount": 100, "currency": "USD", "country": "US", "payment_method": "card"}
OPEN_INFER = "/v2/models/{product}/infer"
CANARY = "/v1/canary/{product}"
CONTROL = "/v1/control-group/{product}"
MONITORING = "/v1/monitoring/{product}"
PROMOTE = "/v1/models/{model_id}/promote"
Check = Callable[[str, httpx.Response], Any]


def upload(client: httpx.Client, headers: dict[str, str], version: str, scores: list[float]) -> httpx.Response:
    form = {"product": PRODUCT, "name": "table", "version": version}
    return client.post("/v1/models", data=form, files={"file": ("m.onnx", table_model(scores))}, headers=headers)


@pytest.fixture(scope="module")
def models(client: httpx.Client, served: MakeRun, as_described: Check) -> dict[str, str]:
    """Ids by version of a product of this file's own: 1 serves, 2 waits."""
    person, ids = served.bearer("ML_OPS_TOKEN"), {}
    for version, scores, status in (("1", [0.1, 0.6], 201), ("2", [0.2, 0.7], 201), ("2", [0.2, 0.7], 200)):
        uploaded = upload(client, person, version, scores)
        assert uploaded.status_code == status
        ids[version] = as_described("/v1/models", uploaded)["model_id"]
    promoted = client.post(PROMOTE.format(model_id=ids["1"]), json={"target": "production"}, headers=person)
    as_described(PROMOTE, promoted)
    return ids


def once_there(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """What is answered once it is neither unknown nor still loading: a second for a model, and for a row of the log."""
    deadline = time.monotonic() + 10
    while (answered := ask()).status_code in (404, 503) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answered


def test_every_scoring_answer_is_described_to_its_last_field(
    client: httpx.Client, served: MakeRun, models: dict[str, str], as_described: Check
) -> None:
    service, person = served.bearer(), served.bearer("ML_OPS_TOKEN")
    event = {"event_id": f"described-{uuid4()}", "product": PRODUCT, "payload": {"amount": 1}}
    answer = as_described("/v1/infer", once_there(lambda: client.post("/v1/infer", json=event, headers=service)))
    as_described("/v1/infer", client.post("/v1/infer", json={"event_id": ""}, headers=service))
    batch = {"events": [event, {**event, "payload": {}}]}
    as_described("/v1/infer/batch", client.post("/v1/infer/batch", json=batch, headers=service))
    rows = {"inputs": [{"name": "amount", "shape": [1], "datatype": "FP32", "data": [1]}]}
    as_described(OPEN_INFER, client.post(OPEN_INFER.format(product=PRODUCT), json=rows, headers=service))
    stored = f"/v1/predictions/{answer['prediction_id']}"
    as_described("/v1/predictions/{prediction_id}", once_there(lambda: client.get(stored, headers=person)))
    reasons = "/v1/predictions/{prediction_id}/reasons"
    as_described(reasons, client.get(f"{stored}/reasons", headers=person))
    demo = {"event_id": f"described-{uuid4()}", "product": "fraud_score", "payload": DEMO_PAYLOAD}
    explained = client.post("/v1/infer", json=demo, headers=service).json()["prediction_id"]
    ask = partial(client.get, f"/v1/predictions/{explained}/reasons", headers=person)
    assert as_described(reasons, once_there(ask))["background"]["source"] == "reference"
    label = {"event_id": event["event_id"], "product": PRODUCT, "label": "fraud", "source": "review"}
    labels = [{**label, "labelled_at": LABELLED_AT}]
    as_described("/v1/labels", client.post("/v1/labels", json=labels, headers=service))


def test_every_other_answer_is_described_to_its_last_field(
    client: httpx.Client, served: MakeRun, models: dict[str, str], as_described: Check
) -> None:
    person = served.bearer("ML_OPS_TOKEN")
    for path in ("/healthz", "/readyz", "/openapi.json"):
        as_described(path, client.get(path))
    as_described("/v1/models", client.get("/v1/models?limit=500", headers=person))
    as_described("/v1/models", client.get("/v1/models?limit=none&x=1", headers=person))
    importance = "/v1/models/{model_id}/importance"
    as_described(importance, client.get(importance.format(model_id=models["1"]), headers=person))
    as_described(importance, client.get(importance.format(model_id=uuid4()), headers=person))
    start = {"product": PRODUCT, "canary_percent": 0, "canary_model_id": models["2"]}
    as_described("/v1/canary", client.post("/v1/canary", json=start, headers=person))
    as_described("/v1/canary", client.post("/v1/canary", json={**start, "canary_percent": 1}, headers=person))
    shown = CANARY.format(product=PRODUCT)
    as_described(MONITORING, client.get(MONITORING.format(product=PRODUCT), headers=person))
    as_described(MONITORING, client.get(MONITORING.format(product="fraud_score"), headers=person))
    as_described(CANARY, client.get(shown))
    as_described(CANARY, client.get(shown, headers=person))
    as_described(f"{CANARY}/report", client.get(f"{shown}/report", headers=person))
    for move in ("pause", "resume", "stop", "stop", "pause"):
        as_described(f"{CANARY}/{move}", client.post(f"{shown}/{move}", headers=person))
    for body in ({"enabled": True, "reason": "r", "max_amount": 5}, {"enabled": False, "reason": "r"}, {}):
        as_described(CONTROL, client.post(CONTROL.format(product=PRODUCT), json=body, headers=person))
    as_described(CONTROL, client.get(CONTROL.format(product=PRODUCT), headers=person))
    as_described(CONTROL, client.get(CONTROL.format(product="none"), headers=person))
    page = client.get(f"{shown}/report?format=html", headers=person)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


# ---------------------------------------------------------------- whatever is sent, the answer is as described

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def described(served: MakeRun) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_sent_the_answer_is_as_described(
    described: schemathesis.BaseSchema, served: MakeRun, method: str, path: str, mode: GenerationMode
) -> None:
    token = "INTERNAL_SERVICE_TOKEN" if path.startswith(("/v1/infer", "/v2")) else "ML_OPS_TOKEN"
    headers = served.bearer(token)

    @given(described[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def is_as_described(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    try:
        is_as_described()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "what takes nothing cannot be sent wrongly"


def test_the_document_is_small_enough_to_read(document: dict[str, Any]) -> None:
    assert len(json.dumps(document)) < 160 << 10
