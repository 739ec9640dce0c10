"""HTTP as it comes over the wire, the same on the service's port and on the controller's."""

import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edge.http.request_head import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET_BYTES
from lab.postgres import LocalPostgres
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, controlling, person, serving
from tests.support.raw_http import Spoken, connect, post, read, say
from tests.support.table_model import table_model

# Newer than Python's own.
PHRASES = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}
EVENT = json.dumps({"event_id": "e", "product": "cards", "payload": {"amount": 1}}).encode()


@dataclass(frozen=True)
class Ports:
    """`log` is the serving process's."""

    serving: int
    control: int
    log: Path


@pytest.fixture(scope="module")
def ports(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    folder: Path = tmp_path_factory.mktemp("raw")
    url = postgres.create_database("raw_http", template="sira_template")
    add_version(folder, url, table_model([0.1, 0.6]))
    with serving(folder, url, workers=1) as service, controlling(folder, url) as control:
        port = urlsplit(control).port
        assert port is not None
        yield Ports(service.port, port, folder / "service.log")
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


def test_the_root_leads_to_what_people_look_at(request: pytest.FixtureRequest, port: int) -> None:
    spoken = say(port, get("/"))
    is_control = "control" in request.node.name
    assert spoken.status == (303 if is_control else 308)
    assert f"\r\nlocation: {'/console' if is_control else '/docs'}" in spoken.head
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
    ("path", "limit"),
    [("/v1/infer", 64 << 10), ("/v1/infer/batch", 1 << 20), ("/v1/canary", 64 << 10), ("/nothing", 256 << 20)],
)
def test_a_length_over_the_limit_is_413_before_the_body_arrives(ports: Ports, path: str, limit: int) -> None:
    request = post(path, headers={"Content-Length": str(limit + 1)})
    started = time.monotonic()
    with connect(ports.serving) as connection:
        connection.sendall(request)
        spoken = read(connection)
        refused(spoken, 413)
        assert spoken.closes
        assert connection.recv(1) == b""
    assert time.monotonic() - started < 4, "it did not wait for the body's timeout"


def test_a_length_over_the_limit_is_413_on_the_control_port(ports: Ports) -> None:
    for path, limit in (("/v1/canary", 64 << 10), ("/v1/models", 256 << 20), ("/v1/labels", 2 << 20)):
        spoken = say(ports.control, post(path, headers={"Content-Length": str(limit + 1)}))
        refused(spoken, 413)
        assert spoken.closes


def test_a_get_may_not_declare_a_long_body_either(port: int) -> None:
    refused(say(port, get("/healthz", f"Content-Length: {(64 << 10) + 1}")), 413)


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/infer/batch", "/v1/labels", "/nothing"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_answer_to_a_body_that_is_too_long_survives_the_rest_of_the_body(
    ports: Ports, path: str, framing: str
) -> None:
    size = 300 << 20 if path == "/nothing" else 4 << 20
    body = b"a" * (4 << 20)
    headers = {"Content-Length": str(size)} if framing == "length" else {"Transfer-Encoding": "chunked"}
    with connect(ports.serving) as connection:
        connection.sendall(post(path, token=SERVICE_TOKEN, headers=headers))
        time.sleep(0.2)
        try:
            connection.sendall(b"%x\r\n" % len(body) + body if framing == "chunks" else body)
        except ConnectionError:
            pytest.fail("the connection was reset under the answer")
        refused(read(connection), 404 if (path, framing) == ("/nothing", "chunks") else 413)


def test_two_authorization_headers_are_400(port: int) -> None:
    first = f"Authorization: Bearer {person()}"
    detail = refused(say(port, get("/v1/models", first, first.replace("Authorization", "authorization"))), 400)
    assert detail == "send the Authorization header once"


def test_two_authorization_headers_are_400_on_the_direct_path(ports: Ports) -> None:
    one = f"Authorization: Bearer {SERVICE_TOKEN}\r\n".encode()
    request = post("/v1/infer", EVENT, token=SERVICE_TOKEN).replace(one, one + one)
    refused(say(ports.serving, request), 400)


@pytest.mark.parametrize("hosts", [[], ["Host: a", "Host: b"], ["Host: a b"], ["Host: a/b"], ["Host: user@a"]])
def test_anything_but_one_valid_host_is_400(port: int, hosts: list[str]) -> None:
    request = "\r\n".join(["GET /healthz HTTP/1.1", *hosts, "", ""]).encode()
    refused(say(port, request), 400)


@pytest.mark.parametrize("host", ["", "localhost:8080", "[::1]:8080", "sira.example.", "%C3%A9.example"])
def test_a_host_may_be_anything_that_rfc_3986_allows(port: int, host: str) -> None:
    assert say(port, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == 200


HOST = b"Host: localhost\r\n"
NOT_HTTP = {
    "a word": b"hello\r\n\r\n",
    "an unknown method": b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method of 10,000 letters": b"A" * 10_000 + b" /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\n" + HOST + b"\r\n",
    "a path with bytes": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path without a slash": b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a NUL in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "a control character in a header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X\r\n\r\n",
    "a header without a name": b"GET /healthz HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n",
    "a folded header": b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "lines without CR": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "a CR within a header": b"GET /healthz HTTP/1.1\r\nHost: localhost\rX: a\r\n\r\n",
}


@pytest.mark.parametrize("case", NOT_HTTP)
def test_what_is_not_http_is_a_problem_document(port: int, case: str) -> None:
    spoken = say(port, NOT_HTTP[case])
    assert refused(spoken, 400) == "this is not a valid HTTP/1.1 request"
    assert spoken.closes


FRAMINGS = {
    "two equal lengths": (["Content-Length: 2", "Content-Length: 2"], 400),
    "two lengths in one header": (["Content-Length: 2, 2"], 400),
    "a length with a sign": (["Content-Length: +2"], 400),
    "a hexadecimal length": (["Content-Length: 0x2"], 400),
    "a length beyond 64 bits": (["Content-Length: 99999999999999999999999"], 400),
    "a length and chunks": (["Content-Length: 2", "Transfer-Encoding: chunked"], 400),
    "chunked twice": (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
    "gzip in chunks": (["Transfer-Encoding: gzip, chunked"], 501),
    "gzip": (["Transfer-Encoding: gzip"], 501),
    "no coding at all": (["Transfer-Encoding: xchunked"], 501),
}


@pytest.mark.parametrize("case", FRAMINGS)
def test_a_body_whose_end_is_ambiguous_is_refused(port: int, case: str) -> None:
    headers, status = FRAMINGS[case]
    path = "/v1/infer" if case.startswith("two") else "/v1/canary"
    lines = "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *headers, "", ""])
    spoken = say(port, lines.encode() + b"{}")
    refused(spoken, status)
    assert spoken.closes


@pytest.mark.parametrize("version", [" HTTP/2.0", " HTTP/0.9", ""])
def test_another_version_of_http_is_505(port: int, version: str) -> None:
    assert refused(say(port, f"GET /healthz{version}\r\n\r\n".encode()), 505) == "use HTTP/1.1"


def test_http_1_0_needs_no_host_and_closes(port: int) -> None:
    spoken = say(port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (spoken.status, spoken.closes) == (200, True)


def test_an_absolute_target_is_the_same_as_its_path(ports: Ports) -> None:
    assert say(ports.control, get("http://localhost/healthz")).status == 200
    request = post("http://localhost/v1/infer", EVENT, token=SERVICE_TOKEN)
    assert say(ports.serving, request).status == 200


def test_an_upgrade_is_ignored_and_the_next_request_is_answered(port: int) -> None:
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="]
    with connect(port) as connection:
        connection.sendall(get("/healthz", *upgrade) + get("/nothing", "Connection: close"))
        received = received_from(connection)
    assert statuses(received) == [200, 404]


def received_from(connection: socket.socket) -> bytes:
    """All that is sent until the other side closes."""
    received = b""
    while more := connection.recv(65536):
        received += more
    return received


def statuses(received: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", received)]


def chunks(body: bytes, *trailers: str) -> bytes:
    return b"%x\r\n%b\r\n0\r\n" % (len(body), body) + "".join(f"{line}\r\n" for line in (*trailers, "")).encode()


@pytest.mark.parametrize("follower", ["garbage", "an encoded body", "a bad chunk"])
def test_a_request_is_answered_although_what_follows_it_is_refused(ports: Ports, follower: str) -> None:
    """One by one, and none of the others who are scored in the same moment loses an answer."""
    event = json.dumps({"event_id": follower, "product": "cards", "payload": {"amount": 1}}).encode()
    good = post("/v1/infer", event, token=SERVICE_TOKEN)
    chunked = {"Transfer-Encoding": "chunked"}
    bad = {
        "garbage": b"garbage\r\n\r\n",
        "an encoded body": post("/v1/infer", event, token=SERVICE_TOKEN, headers={"Content-Encoding": "gzip"}),
        "a bad chunk": post("/v1/infer", b"2\r\n{}\r\nzz\r\n", token=SERVICE_TOKEN, headers=chunked),
    }[follower]
    size = ports.log.stat().st_size
    with connect(ports.serving) as attacker, connect(ports.serving) as other:
        attacker.sendall(good + bad)
        other.sendall(good)
        assert read(other).status == 200
        assert statuses(received_from(attacker)) == [200, 415 if follower == "an encoded body" else 400]
    assert "callback_failed" not in ports.log.read_text()[size:]


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/labels"])
def test_a_body_that_breaks_off_in_a_bad_chunk_is_answered_once(ports: Ports, path: str) -> None:
    for token, status in ((SERVICE_TOKEN, 400), (None, 401)):
        request = post(path, b"2\r\n{}\r\n", token=token, headers={"Transfer-Encoding": "chunked"})
        with connect(ports.serving) as connection:
            connection.sendall(request)
            time.sleep(0.1)
            connection.sendall(b"zz\r\n")
            assert statuses(received_from(connection)) == [status]


def test_a_trailer_is_no_header_of_its_request(port: int) -> None:
    request = post(
        "/v1/canary", chunks(b"{}", f"authorization: Bearer {person()}"), headers={"Transfer-Encoding": "chunked"}
    )
    refused(say(port, request), 401)


def test_trailers_count_as_headers(port: int) -> None:
    many = chunks(b"{}", *(f"x-{n}: {'a' * 400}" for n in range(99)))
    refused(say(port, post("/v1/canary", many, token=person(), headers={"Transfer-Encoding": "chunked"})), 431)


def test_a_caller_who_expects_to_be_refused_is_refused_before_the_body(port: int) -> None:
    spoken = say(port, post("/v1/canary", headers={"Content-Length": "2", "Expect": "100-continue"}))
    refused(spoken, 401)


NO_SUCH_PATHS = [
    *("//v1/infer", "///", "/v1//infer", "/nothing", "/v1", "/v1/infer/", "/V1/infer", "/healthz/", "/docs.json"),
    *("/v1%2Finfer", "/%2fv1/models", "/v1/%2e%2e/healthz", "/v1/../healthz", "/healthz%00", "/%zz", "/healthz;a", "*"),
]


@pytest.mark.parametrize("path", NO_SUCH_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_path_that_does_not_exist_is_a_problem_document(port: int, path: str, method: str) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
    assert refused(say(port, request), 404) == "no such path: see /docs"


def test_a_head_of_a_path_that_does_not_exist_has_no_body(port: int) -> None:
    spoken = say(port, b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert spoken.status == 404
    assert spoken.body == b""


@pytest.mark.parametrize("path", ["/", "/v1/models", "/healthz", "/docs"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_a_method_that_a_path_does_not_have_is_405(port: int, path: str, method: str) -> None:
    spoken = say(port, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    refused(spoken, 405)
    assert "\r\nallow: get, head" in spoken.head


@pytest.mark.parametrize("path", ["/v1/infer", "/livez"])
def test_a_method_that_a_path_of_the_serving_port_does_not_have_is_405(ports: Ports, path: str) -> None:
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


def test_responses_of_every_door_are_counted(ports: Ports) -> None:
    say(ports.serving, post("/v1/infer", EVENT, token=SERVICE_TOKEN))
    say(ports.serving, post("/v1/infer/batch", b"{}", token=SERVICE_TOKEN))
    say(ports.serving, get("/healthz"))
    wanted = {("/v1/infer", "200"), ("/v1/infer/batch", "422"), ("/healthz", "200")}
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = say(ports.serving, get("/metrics")).body.decode()
        counted = set(re.findall(r'sira_http_requests_total\{route="([^"]+)",status="(\d+)"\}', text))
        if wanted <= counted:
            break
        time.sleep(0.1)
    assert wanted <= counted
