import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from lab.errors import RequestFailed
from lab.http import Client, Connection, ask, metric
from lab.ports import free_port


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it received; the path /503 has that status."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        received = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "token": self.headers.get("Authorization"),
                "body": received.decode(),
                "port": self.client_address[1],
            }
        ).encode()
        self.send_response(503 if self.path == "/503" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Name", "value")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_ask_gets_without_a_body_and_posts_with_one(base: str) -> None:
    got, posted = ask(f"{base}/a?b=1").body, ask(f"{base}/a", "secret", {"x": 1}).body
    assert (got["method"], got["path"], got["token"]) == ("GET", "/a?b=1", None)
    assert (posted["method"], posted["token"], posted["body"]) == ("POST", "Bearer secret", '{"x": 1}')


def test_an_error_status_is_an_answer_with_lower_case_headers(base: str) -> None:
    answer = ask(f"{base}/503")
    assert (answer.status, answer.headers["x-name"]) == (503, "value")


def test_a_proxy_of_the_environment_is_not_used(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert ask(f"{base}/direct").status == 200


def test_a_connection_is_kept_between_requests(base: str) -> None:
    with Connection(base) as connection:
        ports = {connection.exchange("POST", "/", b"{}").body["port"] for _ in range(3)}
    assert len(ports) == 1


def test_a_client_raises_for_an_error_status_and_for_no_answer(base: str) -> None:
    with pytest.raises(RequestFailed, match="GET /503: answered 503"):
        Client(base, "token").get("/503")
    with pytest.raises(RequestFailed, match="refused"):
        Client(f"http://127.0.0.1:{free_port()}", "token").post("/", {})


def test_a_metric_is_the_sum_of_the_series_with_all_labels() -> None:
    text = 'calls{status="200",route="a"} 2\ncalls{status="503",route="a"} 3\ncalls_total{status="200"} 9\nup 1\n'
    assert metric(text, "calls") == 5
    assert metric(text, "calls", 'status="200"', 'route="a"') == 2
    assert metric(text, "up") == 1
    assert metric(text, "missing") == 0
