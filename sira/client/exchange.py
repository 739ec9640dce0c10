"""One call with its repetitions, without I/O: it yields requests and waits, and receives what became of them.

Every call of the client may be repeated: an event with the same id gives the same prediction, a label sent again
changes nothing.
"""

import random
from collections.abc import Generator
from dataclasses import dataclass

import httpx

from sira.client.errors import ServiceUnreachable, error_of
from sira.client.messages import read_problem

# Overload, or no answer from behind a proxy. A 500 is not repeated: the same event would fail again.
# Mistakes of the caller, such as a URL without a scheme: no attempt reaches a server.
_NEVER_SENT = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
REPEATED_STATUSES = frozenset({429, 502, 503, 504})
_FIRST_WAIT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts` in all; a `Retry-After` above `max_wait_seconds` ends the call at once."""

    attempts: int = 3
    max_wait_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait before the next attempt."""

    seconds: float


Exchange = Generator[httpx.Request | Pause, httpx.Response | httpx.TransportError | None, bytes]


def exchange(request: httpx.Request, retries: Retries) -> Exchange:
    """Return the body of a 2xx answer. Raises ServiceProblem, or ServiceUnreachable when no answer arrived."""
    attempt = 1
    while True:
        received = yield request
        assert received is not None
        if isinstance(received, httpx.Response) and received.is_success:
            return received.content
        wait = _wait_seconds(received, attempt)
        if wait is None or wait > retries.max_wait_seconds or attempt >= retries.attempts:
            break
        yield Pause(wait)
        attempt += 1
    if isinstance(received, httpx.TransportError):
        attempts = f"{attempt} attempt{'s' if attempt > 1 else ''}"
        server = f"{request.url.scheme}://{request.url.netloc.decode()}"
        raise ServiceUnreachable(f"{server}: {type(received).__name__} after {attempts}: {received}") from received
    raise error_of(read_problem(received.status_code, received.content))


def _wait_seconds(received: httpx.Response | httpx.TransportError, attempt: int) -> float | None:
    """Return how long to wait before the next attempt; None when it cannot help."""
    backoff: float = random.uniform(0.5, 1.0) * _FIRST_WAIT_SECONDS * 2 ** (attempt - 1)
    if isinstance(received, httpx.TransportError):
        return None if isinstance(received, _NEVER_SENT) else backoff
    if received.status_code not in REPEATED_STATUSES:
        return None
    asked = received.headers.get("retry-after", "")
    return max(backoff, float(asked)) if asked.isdigit() else backoff
