"""HTTP to processes on this machine: over http.client, so never through a proxy that the environment names."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from lab.errors import RequestFailed

DEFAULT_TIMEOUT_SECONDS = 40.0


@dataclass(frozen=True)
class Answer:
    """`headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    @property
    def body(self) -> Any:
        """The parsed JSON, or the text if it is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.text


class Connection:
    """One keep-alive connection to the server of `base` ("http://127.0.0.1:8080"); opened at the first request."""

    def __init__(
        self, base: str, token: str | None = None, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        url = urlsplit(base)
        self._connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout_seconds)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def exchange(self, method: str, path: str, content: bytes | None = None) -> Answer:
        """Send one request; an error status is an answer too. Raises OSError if no whole answer comes."""
        headers = self._headers if content is None else self._headers | {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, content, headers)
            response = self._connection.getresponse()
            received = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"the answer is not HTTP: {error!r}") from None
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, received)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def ask(
    url: str,
    token: str | None = None,
    body: object = None,
    *,
    method: str | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> Answer:
    """GET, or POST `body` as JSON; an error status is an answer too. Raises OSError if there is no answer."""
    parts = urlsplit(url)
    path = parts._replace(scheme="", netloc="").geturl() or "/"
    content = None if body is None else json.dumps(body).encode()
    with Connection(f"http://{parts.netloc}", token, timeout_seconds=timeout_seconds) as connection:
        return connection.exchange(method or ("GET" if content is None else "POST"), path, content)


@dataclass(frozen=True)
class Client:
    """Calls the routes of one process with one token. Every method raises RequestFailed unless the answer is 2xx."""

    base: str
    token: str

    def get(self, path: str) -> Any:
        return self.answer("GET", path).body

    def post(self, path: str, body: object = None) -> Any:
        return self.answer("POST", path, body).body

    def text(self, path: str) -> str:
        return self.answer("GET", path).text

    def answer(self, method: str, path: str, body: object = None) -> Answer:
        try:
            answer = ask(self.base + path, self.token, body, method=method)
        except OSError as error:
            raise RequestFailed(method, path, str(error)) from None
        if not 200 <= answer.status < 300:
            raise RequestFailed(method, path, f"answered {answer.status}: {answer.text[:300]}")
        return answer


def metric(exposition: str, name: str, *labels: str) -> float:
    """Sum the series of `name` that carry all `labels`, each written as Prometheus prints it: `reason="x"`."""
    series = (line for line in exposition.splitlines() if line.startswith((f"{name}{{", f"{name} ")))
    return sum(float(line.rpartition(" ")[2]) for line in series if all(label in line for label in labels))
