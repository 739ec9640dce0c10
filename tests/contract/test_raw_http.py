"""HTTP as it comes over the wire, the same on the service's port and on the controller's."""

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edge.request_head import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from lab.postgres import LocalPostgres
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, controlling, person, serving
from tests.support.raw_http import Spoken, connect, post, read, say
from tests.support.table_model import table_model

PHRASES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}  # newer than Python's own
EVENT = json.dumps({"event_id": "e", "product": "cards", "payload": {"amount": 1}}).encode()
MODEL_LIMIT = 64 << 10


@dataclass(frozen=True)
class Ports:
    serving: int
    control: int


@pytest.fixture(scope="module")
def ports(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    folder: Path = tmp_path_factory.mktemp("raw")
    url = postgres.create_database("raw_http", template="sira_template")
    add_version(folder, url, table_model([0.1, 0.6]))
    with serving(folder, url, workers=1) as service, controlling(folder, url) as control:
        port = urlsplit(control).port
        assert port is not None
        yield Ports(service.port, port)
    postgres.drop_database("raw_http")


@pytest.fixture(params=["serving", "control"])
def port(request: pytest.FixtureRequest, ports: Ports) -> int:
    """Each port in turn."""
    return int(getattr(ports, request.param))


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def refused(spoken: Spoken, status: int) -> str:
    """The detail of a problem document with that status, whose title is the status phrase."""
    assert spoken.status == status, spoken
    assert "content-type: application/problem+json" in spoken.head
    problem = json.loads(spoken.body)
    assert problem["title"] == PHRASES.get(status, HTTPStatus(status).phrase)
    assert problem["status"] == status
    return str(problem["detail"])


def test_the_root_leads_to_the_documentation(port: int) -> None:
    spoken = say(port, get("/"))
    assert spoken.status == 308
    assert "\r\nlocation: /docs" in spoken.head
    assert say(port, get("/docs")).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_of_a_persons_token_may_be_written_in_any_case(port: int, scheme: str) -> None:
    assert say(port, get("/v1/models", f"Authorization: {scheme} {person()}")).status == 200


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
@pytest.mark.parametrize("path", ["/v1/infer", "/v1/infer/batch"])
def test_the_scheme_of_a_service_token_may_be_written_in_any_case(ports: Ports, scheme: str, path: str) -> None:
    body = EVENT if path == "/v1/infer" else b'{"events":[' + EVENT + b"]}"
    spoken = say(ports.serving, post(path, body, headers={"Authorization": f"{scheme} {SERVICE_TOKEN}"}))
    assert spoken.status == 200


def test_a_hundred_headers_are_taken(port: int) -> None:
    headers = [f"X-{n}: 1" for n in range(MAX_HEADERS - 1)]
    assert say(port, get("/healthz", *headers)).status == 200


def test_more_than_a_hundred_headers_are_431(port: int) -> None:
    spoken = say(port, get("/healthz", *(f"X-{n}: 1" for n in range(MAX_HEADERS))))
    assert refused(spoken, 431) == "send at most 100 headers of 32768 bytes in all"
    assert spoken.closes


def test_twenty_thousand_headers_are_431(port: int) -> None:
    refused(say(port, get("/healthz", *(f"X-{n}: 1" for n in range(20_000)))), 431)


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES, 200_000, 2_000_000])
def test_a_header_beyond_the_limit_is_431(port: int, size: int) -> None:
    refused(say(port, get("/healthz", "X: " + "a" * size)), 431)


def test_a_header_that_never_ends_is_431(port: int) -> None:
    parts = [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "] + [b"a" * 60_000] * 40
    refused(say(port, *parts), 431)


def test_a_path_beyond_the_limit_is_414(port: int) -> None:
    refused(say(port, get("/" + "a" * MAX_TARGET_BYTES)), 414)


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/infer/batch", "/v1/labels"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
def test_an_encoded_body_is_415(ports: Ports, path: str, encoding: str) -> None:
    body = gzip.compress(EVENT)
    spoken = say(ports.serving, post(path, body, token=SERVICE_TOKEN, headers={"Content-Encoding": encoding}))
    assert "no Content-Encoding but identity" in refused(spoken, 415)


def test_an_encoded_body_is_415_on_the_control_port(ports: Ports) -> None:
    request = post("/v1/canary", b"", token=person(), headers={"Content-Encoding": "gzip"})
    refused(say(ports.control, request), 415)


def test_a_body_that_is_said_to_be_identical_is_read(ports: Ports) -> None:
    request = post("/v1/infer", EVENT, token=SERVICE_TOKEN, headers={"Content-Encoding": "Identity"})
    assert say(ports.serving, request).status == 200


@pytest.mark.parametrize(
    ("path", "limit"), [("/v1/infer", 64 << 10), ("/v1/infer/batch", 1 << 20), ("/v1/canary", 64 << 10)]
)
def test_a_length_over_the_limit_is_413_before_the_body_arrives(ports: Ports, path: str, limit: int) -> None:
    token = person() if path == "/v1/canary" else SERVICE_TOKEN
    request = post(path, token=token, headers={"Content-Length": str(limit + 1)})
    started = time.monotonic()
    with connect(ports.serving) as connection:
        connection.sendall(request)
        spoken = read(connection)
        refused(spoken, 413)
        assert spoken.closes
        assert connection.recv(1) == b""
    assert time.monotonic() - started < 4, "it did not wait for the body's timeout"


def test_an_answer_to_a_body_that_is_too_long_survives_the_rest_of_the_body(ports: Ports) -> None:
    body = b"a" * (4 << 20)
    with connect(ports.serving) as connection:
        connection.sendall(post("/v1/infer", token=SERVICE_TOKEN, headers={"Content-Length": str(len(body))}))
        time.sleep(0.2)
        try:
            connection.sendall(body)
        except ConnectionError:
            pytest.fail("the connection was reset under the answer")
        refused(read(connection), 413)


def test_two_authorization_headers_are_400(port: int) -> None:
    first = f"Authorization: Bearer {person()}"
    detail = refused(say(port, get("/v1/models", first, first.replace("Authorization", "authorization"))), 400)
    assert detail == "send the Authorization header once"


def test_two_authorization_headers_are_400_on_the_direct_path(ports: Ports) -> None:
    one = f"Authorization: Bearer {SERVICE_TOKEN}\r\n".encode()
    request = post("/v1/infer", EVENT, token=SERVICE_TOKEN).replace(one, one + one)
    refused(say(ports.serving, request), 400)


@pytest.mark.parametrize("hosts", [[], ["Host: a", "Host: b"]])
def test_anything_but_one_host_is_400(port: int, hosts: list[str]) -> None:
    request = "\r\n".join(["GET /healthz HTTP/1.1", *hosts, "", ""]).encode()
    refused(say(port, request), 400)


def test_what_is_not_http_is_a_problem_document(port: int) -> None:
    assert refused(say(port, b"hello\r\n\r\n"), 400) == "this is not a valid HTTP/1.1 request"


NO_SUCH_PATHS = ["//v1/infer", "///", "/v1//infer", "/nothing", "/v1", "/v1/infer/", "/V1/infer"]


@pytest.mark.parametrize("path", NO_SUCH_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_path_that_does_not_exist_is_a_problem_document(port: int, path: str, method: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
    assert refused(say(port, request), 404) == "no such path: see /docs"


def test_a_head_of_a_path_that_does_not_exist_has_no_body(port: int) -> None:
    spoken = say(port, b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert spoken.status == 404
    assert spoken.body == b""


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/models", "/healthz"])
def test_a_method_that_a_path_does_not_have_is_405(ports: Ports, path: str) -> None:
    spoken = say(ports.serving, f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    refused(spoken, 405)
    assert "\r\nallow: " in spoken.head


def test_no_token_is_401_with_the_status_phrase(port: int) -> None:
    refused(say(port, get("/v1/models")), 401)


def test_a_request_after_one_with_many_headers_starts_counting_again(port: int) -> None:
    headers = [f"X-{n}: {'a' * 200}" for n in range(90)]
    with connect(port) as connection:
        for _ in range(4):
            connection.sendall(get("/healthz", *headers))
            assert read(connection).status == 200
