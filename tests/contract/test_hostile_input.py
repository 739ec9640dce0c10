"""Whatever comes over the wire: never a 5xx, never a value in a log line or an error, and others are served on."""

import contextlib
import gzip
import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge import api
from edge.http.protocol import REST_SECONDS
from lab.postgres import LocalPostgres
from lab.procfs import open_descriptors, resident_mib
from lab.product import Service
from tests.conftest import SERVICE_TOKEN
from tests.support.bare import add_version, person, serving
from tests.support.raw_http import Spoken, connect, post, read, say
from tests.support.table_model import table_model

# In every hostile request; in no answer and in no log line.
SECRET = "4111222233334444"
BODY_SECONDS = 1.0
MAX_CONCURRENCY = 64
UUID_TEXT = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
ML_OPS = person()


@dataclass(frozen=True)
class Target:
    service: Service
    log: Path

    @property
    def port(self) -> int:
        return self.service.port

    def infer(self, body: bytes, **headers: str) -> Spoken:
        return self.fine(say(self.port, post("/v1/infer", body, token=SERVICE_TOKEN, headers=headers)))

    def fine(self, spoken: Spoken) -> Spoken:
        """Neither an error of ours nor a word of what was sent."""
        assert spoken.status < 500, spoken
        assert SECRET.encode() not in spoken.body
        assert b"Traceback" not in spoken.body
        if spoken.status >= 400 and spoken.body.startswith(b"{"):
            assert "application/problem+json" in spoken.head
        return spoken

    def serves_on(self) -> bool:
        started = time.monotonic()
        return self.infer(event()).status == 200 and time.monotonic() - started < 1


def event(**changes: Any) -> bytes:
    return json.dumps({"event_id": "e", "product": "cards", "payload": {"amount": 1}, **changes}).encode()


@pytest.fixture(scope="module")
def target(postgres: LocalPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    url = postgres.create_database("hostile_input", template="sira_template")
    add_version(folder, url, table_model([0.1, 0.6, 0.95]))
    limits = {"BODY_TIMEOUT_SECONDS": str(BODY_SECONDS), "MAX_CONCURRENCY": str(MAX_CONCURRENCY)}
    with serving(folder, url, workers=1, **limits) as service:
        yield Target(service, folder / "service.log")
    postgres.drop_database("hostile_input")


@pytest.fixture(autouse=True)
def log_without_values(target: Target) -> Iterator[None]:
    """After every test: not one line of the log holds what was sent, and the service serves."""
    size = target.log.stat().st_size
    yield
    assert target.serves_on()
    with target.log.open() as log:
        log.seek(size)
        said = log.read()
    assert SECRET not in said
    assert "Traceback" not in said


# ---------------------------------------------------------------- bodies

NOT_JSON = {
    "nothing": b"",
    "cut short": b'{"event_id": "' + SECRET.encode(),
    "a deep list": b"[" * 60_000,
    "a deep object": b'{"a":' * 12_000,
    "deep in the payload": b'{"event_id":"e","product":"cards","payload":{"x":' + b"[" * 50_000 + b"]" * 10_000 + b"}}",
    "NaN": b'{"event_id":"e","product":"cards","payload":{"amount":NaN}}',
    "Infinity": b'{"event_id":"e","product":"cards","payload":{"amount":-Infinity}}',
    "a float too large": b'{"event_id":"e","product":"cards","payload":{"amount":1e999}}',
    "five thousand digits": b'{"event_id":"e","product":"cards","payload":{"amount":' + b"9" * 5000 + b"}}",
    "invalid UTF-8": b'{"event_id":"' + SECRET.encode() + b'\xff\xfe"}',
    "half a surrogate": b'{"event_id":"' + SECRET.encode() + b'\\ud800"}',
    "a byte order mark": b"\xef\xbb\xbf" + event(),
    "UTF-16": event().decode().encode("utf-16"),
    "Latin-1": '{"event_id":"é"}'.encode("latin-1"),
    "gzip": gzip.compress(event()),
    "a form": f"event_id={SECRET}&product=cards".encode(),
    "XML": f"<event>{SECRET}</event>".encode(),
    "NUL bytes": b"\0" * 1000,
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_what_is_not_json_is_400(target: Target, case: str) -> None:
    assert target.infer(NOT_JSON[case]).status == 400


def test_a_body_is_read_as_json_whatever_its_content_type_says(target: Target) -> None:
    claims = {"Content-Encoding": "identity", "Content-Type": "text/xml; charset=ebcdic"}
    assert target.infer(event(), **claims).status == 200


WRONG: dict[str, Any] = {
    "a number as id": event(event_id=4111222233334444),
    "a list as payload": event(payload=[SECRET]),
    "an object in the payload": event(payload={"amount": {"value": SECRET}}),
    "text for a number": event(payload={"amount": SECRET}),
    "true for a number": event(payload={"amount": True}),
    "a number out of range": event(payload={"amount": 1e39}),
    "400 digits": event(payload={"amount": 10**400}),
    "nothing in the payload": event(payload={}),
    "an overlong id": event(event_id=SECRET * 10),
    "an unknown field": event(secret=SECRET),
    "a NUL in the id": event(event_id=f"{SECRET}\0"),
    "a NUL in the payload": event(payload={"amount": 1, "note": f"{SECRET}\0"}),
    "3,000 fields": event(payload={f"f{n}": SECRET for n in range(1800)} | {"amount": "x"}),
    "a name to break pointers": event(payload={"amount": 1, "a/~b\n" * 100: [SECRET]}),
    "a list of events": json.dumps([SECRET] * 100).encode(),
    "a string": json.dumps(SECRET).encode(),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_422_and_names_each_wrong_field(target: Target, case: str) -> None:
    refused = target.infer(WRONG[case])
    assert refused.status == 422
    errors = json.loads(refused.body)["errors"]
    assert errors
    assert all(error["pointer"].startswith("/") or error["pointer"] == "" for error in errors)


def test_of_a_key_sent_twice_the_last_value_counts(target: Target) -> None:
    twice = b'{"event_id":"twice","product":"cards","payload":{"amount":0,"amount":2}}'
    assert json.loads(target.infer(twice).body)["decision"] == "block"


@pytest.mark.parametrize("case", NOT_JSON)
def test_a_batch_that_is_not_json_is_400(target: Target, case: str) -> None:
    body = b'{"events":[' + NOT_JSON[case] + b"]}" if case != "nothing" else b""
    if case in ("a byte order mark", "Latin-1", "UTF-16"):
        body = NOT_JSON[case]
    spoken = target.fine(say(target.port, post("/v1/infer/batch", body, token=SERVICE_TOKEN)))
    assert spoken.status == 400


def test_a_batch_of_everything_wrong_is_an_error_each(target: Target) -> None:
    events = [json.loads(body) for body in WRONG.values()]
    body = json.dumps({"events": [*events, json.loads(event())]}).encode()
    spoken = target.fine(say(target.port, post("/v1/infer/batch", body, token=SERVICE_TOKEN)))
    *wrong, right = json.loads(spoken.body)["results"]
    assert {result["error"]["status"] for result in wrong} == {422}
    assert right["answer"]["decision"] == "review"


POSTS = sorted(route.path for route in api.ROUTES if route.method == "POST")


@pytest.mark.parametrize("path", POSTS)
def test_no_control_route_trips_over_any_of_it(target: Target, path: str) -> None:
    filled = path.format(model_id=SECRET, product="cards")
    nul = json.dumps({"target": "production", "reason": "\0", "product": f"{SECRET}\0", "storage_s3_key": "\0"})
    for body in (*NOT_JSON.values(), *WRONG.values(), nul.encode(), b"null", b"[]", b"[[]]", b"0", b'{"reason":[]}'):
        spoken = target.fine(say(target.port, post(filled, body, token=ML_OPS)))
        assert 400 <= spoken.status < 500 or not body.strip() or body == b"null", (body[:40], spoken)


@pytest.mark.parametrize(
    "query",
    [
        *("product=%00", "status=%00", "cursor=%00", "limit=%00", "limit=-1", "limit=1e9", "limit=٣", "cursor=AAAA"),
        *("cursor=%FF%FE", "cursor=" + "A" * 5000, "x=1", "product=" + "%F0%9F%98%80" * 500, "limit=", "status[]=a"),
    ],
)
def test_no_query_trips_the_list_of_models(target: Target, query: str) -> None:
    request = f"GET /v1/models?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ML_OPS}\r\n\r\n"
    assert target.fine(say(target.port, request.encode())).status in (200, 422, 400)


@pytest.mark.parametrize(
    "id_",
    ["%00", "urn:uuid:6f9619ff-8b86-d011-b42d-00c04fc964ff", "{6f9619ff-8b86-d011-b42d-00c04fc964ff}", "a" * 5000],
)
def test_no_id_trips_a_look_up(target: Target, id_: str) -> None:
    for path in (f"/v1/predictions/{id_}", f"/v1/canary/{id_}", f"/v1/canary/{id_}/report"):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ML_OPS}\r\n\r\n"
        assert target.fine(say(target.port, request.encode())).status == (422 if id_ == "%00" else 404)


# ---------------------------------------------------------------- sizes


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


@pytest.mark.parametrize(("path", "limit"), [("/v1/infer", 64 << 10), ("/v1/infer/batch", 1 << 20)])
def test_a_body_of_the_limit_is_read_and_one_byte_more_is_413(target: Target, path: str, limit: int) -> None:
    chunks = {"Transfer-Encoding": "chunked"}
    for size, status in ((limit, 422), (limit + 1, 413)):
        body = b"{}" + b" " * (size - 2)
        assert target.fine(say(target.port, post(path, body, token=SERVICE_TOKEN))).status == status
        pieces = [body[first : first + 5000] for first in range(0, size, 5000)]
        in_chunks = post(path, chunked(*pieces), token=SERVICE_TOKEN, headers=chunks)
        assert target.fine(say(target.port, in_chunks)).status == status


def test_a_body_that_says_it_is_huge_is_refused_without_waiting_for_it(target: Target) -> None:
    started = time.monotonic()
    head = post("/v1/infer/batch", token=SERVICE_TOKEN, headers={"Content-Length": str(10 << 30)})
    refused = target.fine(say(target.port, head))
    assert (refused.status, refused.closes) == (413, True)
    assert time.monotonic() - started < BODY_SECONDS


def test_a_body_that_never_ends_is_cut_off(target: Target) -> None:
    with connect(target.port) as connection:
        connection.sendall(post("/v1/infer", token=SERVICE_TOKEN, headers={"Transfer-Encoding": "chunked"}))
        sent = 0
        try:
            while sent < 64 << 20:
                connection.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
                sent += 0x4000
        except ConnectionError:
            pass
        assert sent < 16 << 20


# ---------------------------------------------------------------- time and connections


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/infer/batch"])
def test_a_body_that_stops_half_way_is_408(target: Target, path: str) -> None:
    started = time.monotonic()
    refused = target.fine(say(target.port, post(path, token=SERVICE_TOKEN, headers={"Content-Length": "100"}), b'{"a'))
    assert (refused.status, refused.closes) == (408, True)
    assert BODY_SECONDS <= time.monotonic() - started < BODY_SECONDS + 2


def test_a_body_that_trickles_is_408(target: Target) -> None:
    with connect(target.port) as connection:
        connection.sendall(post("/v1/infer", token=SERVICE_TOKEN, headers={"Content-Length": "60000"}))
        started = time.monotonic()
        connection.settimeout(0.1)
        while time.monotonic() - started < 10:
            try:
                connection.sendall(b" ")
                if spoken := read(connection):
                    break
            except TimeoutError:
                continue
        assert spoken.status == 408


def test_who_shows_no_token_cannot_keep_others_waiting(target: Target) -> None:
    """More connections than may be scored at once, none with a token, each with a body that does not come."""
    slow = post("/v1/infer", headers={"Content-Length": "100"})
    with holding(target.port, slow, MAX_CONCURRENCY * 3):
        assert [target.infer(event()).status for _ in range(20)] == [200] * 20


@pytest.mark.parametrize("path", ["/v1/infer", "/v1/infer/batch"])
def test_over_the_concurrency_limit_the_surplus_gets_retry_after_and_is_then_served(target: Target, path: str) -> None:
    slow = post(path, token=SERVICE_TOKEN, headers={"Content-Length": "100"})
    with holding(target.port, slow, MAX_CONCURRENCY) as held:
        refused = target.infer(event())
        assert (refused.status, "\r\nretry-after: 1" in refused.head) == (429, True)
        assert {read(connection).status for connection in held} == {408}
        assert target.infer(event()).status == 200


def test_who_asks_again_at_once_is_refused_a_few_times_a_second_and_not_thousands(target: Target) -> None:
    slow = post("/v1/infer", token=SERVICE_TOKEN, headers={"Content-Length": "100"})
    seconds, refusals = BODY_SECONDS / 2, 0
    with holding(target.port, slow, MAX_CONCURRENCY), connect(target.port) as connection:
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            connection.sendall(post("/v1/infer", event(), token=SERVICE_TOKEN))
            assert target.fine(read(connection)).status == 429
            refusals += 1
    assert 1 < refusals <= seconds / REST_SECONDS + 1


@contextlib.contextmanager
def holding(port: int, request: bytes, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that have sent this and wait."""
    held = [connect(port) for _ in range(count)]
    try:
        for connection in held:
            connection.sendall(request)
        time.sleep(0.2)
        yield held
    finally:
        for connection in held:
            connection.close()


def test_half_closed_connections_end(target: Target) -> None:
    before = open_descriptors(target.service.workers()[0])
    for request in (post("/v1/infer", token=SERVICE_TOKEN, headers={"Content-Length": "100"}), event(), b"POST /v1/in"):
        for _ in range(20):
            with connect(target.port) as connection:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                target.fine(read(connection))
    time.sleep(BODY_SECONDS + 1)
    assert open_descriptors(target.service.workers()[0]) <= before + 5


def hang_up(port: int, said: bytes) -> None:
    """With a reset: what a caller does whose process is killed."""
    connection = connect(port)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(ConnectionError):
        connection.sendall(said)
    connection.close()


def test_ten_thousand_callers_who_hang_up_leave_nothing_behind(target: Target) -> None:
    (worker,) = target.service.workers()
    whole = post("/v1/infer", event(event_id="gone"), token=SERVICE_TOKEN)
    said = (b"", whole[:50], whole[:-5], whole, b"\0" * 50)

    def churn(count: int) -> None:
        for n in range(count):
            hang_up(target.port, said[n % len(said)])
        assert target.serves_on()
        time.sleep(1)

    churn(2_000)
    before = open_descriptors(worker), resident_mib(worker)
    churn(8_000)
    after = open_descriptors(worker), resident_mib(worker)
    assert after[0] <= before[0] + 5
    assert after[1] - before[1] < 16


def test_a_thousand_idle_connections_keep_nobody_waiting(target: Target) -> None:
    with holding(target.port, b"", 1000):
        assert target.serves_on()


def test_memory_does_not_grow_with_what_is_refused(target: Target) -> None:
    (worker,) = target.service.workers()
    bodies = [*NOT_JSON.values(), *WRONG.values()]

    def send(count: int) -> None:
        with ThreadPoolExecutor(8) as callers:
            for spoken in callers.map(lambda n: target.infer(bodies[n % len(bodies)]), range(count)):
                assert spoken.status < 500

    send(600)
    before = resident_mib(worker)
    send(1800)
    assert resident_mib(worker) - before < 24


# ---------------------------------------------------------------- HTTP itself

TOKEN = f"Authorization: Bearer {SERVICE_TOKEN}\r\n".encode()
GOOD = post("/v1/infer", event(), token=SERVICE_TOKEN)
LENGTH = b"Content-Length: %d\r\n" % len(event())

ODD: dict[str, tuple[bytes, set[int]]] = {
    "no HTTP at all": (SECRET.encode() + b"\r\n\r\n", {0, 400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, {0, 400}),
    "two lengths": (GOOD.replace(LENGTH, LENGTH + b"Content-Length: 5\r\n"), {400}),
    "a length and chunks": (GOOD.replace(LENGTH, LENGTH + b"Transfer-Encoding: chunked\r\n"), {400}),
    "a negative length": (GOOD.replace(LENGTH, b"Content-Length: -5\r\n"), {400}),
    "a length that is not a number": (GOOD.replace(LENGTH, b"Content-Length: many\r\n"), {400}),
    "chunks of a wrong size": (post("/v1/infer", b"zz\r\n{}", headers={"Transfer-Encoding": "chunked"}), {400, 401}),
    "a NUL in a header": (GOOD.replace(b"Host: localhost", b"Host: local\0host"), {400}),
    "no host": (GOOD.replace(b"Host: localhost\r\n", b""), {400}),
    "a path with a query": (GOOD.replace(b"/v1/infer", b"/v1/infer?x=" + SECRET.encode()), {200}),
    "a path in full": (GOOD.replace(b"/v1/infer", b"http://localhost/v1/infer"), {200, 400, 404}),
    "a path with dots": (GOOD.replace(b"/v1/infer", b"/v1/../v1/infer"), {404}),
    "a path with a slash more": (GOOD.replace(b"/v1/infer", b"/v1/infer/"), {404}),
    "a path in capitals": (GOOD.replace(b"/v1/infer", b"/V1/INFER"), {404}),
    "a path with bytes": (GOOD.replace(b"/v1/infer", b"/v1/\xff\xfe"), {400, 404}),
    "an unknown method": (GOOD.replace(b"POST", b"BREW"), {400, 405}),
    "GET": (GOOD.replace(b"POST", b"GET"), {405}),
    "HTTP/1.0": (GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), {200}),
    "HTTP/9.9": (GOOD.replace(b"HTTP/1.1", b"HTTP/9.9"), {0, 200, 400, 505}),
    "an upgrade": (GOOD.replace(TOKEN, TOKEN + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), {200, 400, 404, 426}),
    "an upgrade to HTTP/2": (GOOD.replace(TOKEN, TOKEN + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"), {200, 400, 426}),
    "a token cut by a tab": (GOOD.replace(b"Bearer ", b"Bearer\t"), {401}),
    "a token in bytes": (GOOD.replace(SERVICE_TOKEN.encode(), b"\xff" * 40), {401}),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_http_is_answered_or_refused(target: Target, case: str) -> None:
    request, statuses = ODD[case]
    assert target.fine(say(target.port, request)).status in statuses


def test_requests_in_one_write_are_answered_in_order(target: Target) -> None:
    amounts = [2, 0, 1, 2]
    requests = [post("/v1/infer", event(payload={"amount": n}), token=SERVICE_TOKEN) for n in amounts]
    with connect(target.port) as connection:
        connection.sendall(b"".join(requests))
        received = b""
        while received.count(b'"decision"') < 4 and (more := connection.recv(65536)):
            received += more
    decisions = [part.partition(b'"')[0].decode() for part in received.split(b'"decision":"')[1:]]
    assert decisions == ["block", "allow", "review", "block"]


def test_a_connection_is_kept_through_refusals(target: Target) -> None:
    with connect(target.port) as connection:
        for body, status in ((b"{", 400), (event(), 200), (b"{}", 422), (event(), 200)):
            connection.sendall(post("/v1/infer", body, token=SERVICE_TOKEN))
            assert target.fine(read(connection)).status == status


def test_a_caller_that_expects_100_continue_gets_it(target: Target) -> None:
    with connect(target.port) as connection:
        head, _, body = post("/v1/infer", event(), token=SERVICE_TOKEN, headers={"Expect": "100-continue"}).partition(
            b"\r\n\r\n"
        )
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(body)
        assert read(connection).status == 200
