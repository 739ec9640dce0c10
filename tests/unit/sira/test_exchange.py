"""The client's repetitions: what is sent again, after how long, and what ends a call."""

import httpx
import pytest

from sira.client.errors import NotAdmitted, RequestInvalid, ServiceOverloaded, ServiceProblem, ServiceUnreachable
from sira.client.exchange import Exchange, Pause, Retries, exchange

REQUEST = httpx.Request("POST", "http://sira/v1/infer", content=b"{}")
RESET = httpx.ReadError("reset")


def answer(status: int, text: str = "{}", **headers: str) -> httpx.Response:
    return httpx.Response(status, text=text, headers=headers)


def play(call: Exchange, *received: httpx.Response | httpx.TransportError) -> tuple[bytes, list[float]]:
    """Return the call's body and its waits, when these are received in turn."""
    waits, results = [], list(received)
    step = next(call)
    try:
        while True:
            if isinstance(step, Pause):
                waits.append(step.seconds)
                step = call.send(None)
            else:
                assert step is REQUEST
                step = call.send(results.pop(0))
    except StopIteration as done:
        assert results == []
        return done.value, waits


def test_a_first_answer_is_returned_without_a_wait() -> None:
    assert play(exchange(REQUEST, Retries()), answer(200, "scored")) == (b"scored", [])


@pytest.mark.parametrize("fault", [RESET, httpx.ConnectTimeout("late"), answer(429), answer(502), answer(503)])
def test_overload_and_a_lost_connection_are_tried_again_with_growing_waits(
    fault: httpx.Response | httpx.TransportError,
) -> None:
    body, waits = play(exchange(REQUEST, Retries()), fault, fault, answer(200, "scored"))
    assert body == b"scored"
    assert 0.025 <= waits[0] <= 0.05 <= waits[1] <= 0.1


def test_retry_after_is_obeyed() -> None:
    body, waits = play(exchange(REQUEST, Retries()), answer(503, **{"Retry-After": "1"}), answer(200, "scored"))
    assert (body, waits) == (b"scored", [1.0])


def test_a_retry_after_that_is_too_long_ends_the_call() -> None:
    with pytest.raises(ServiceOverloaded):
        play(exchange(REQUEST, Retries()), answer(503, **{"Retry-After": "5"}))


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, RequestInvalid), (401, NotAdmitted), (403, NotAdmitted), (404, ServiceProblem), (422, RequestInvalid),
     (500, ServiceProblem)],
)  # fmt: skip
def test_what_would_fail_again_is_not_tried_again(status: int, error: type[ServiceProblem]) -> None:
    with pytest.raises(error) as raised:
        play(exchange(REQUEST, Retries()), answer(status, f'{{"status": {status}, "title": "T", "detail": "why"}}'))
    assert str(raised.value) == f"{status} T: why"


@pytest.mark.parametrize("mistake", [httpx.UnsupportedProtocol("no scheme"), httpx.LocalProtocolError("bad header")])
def test_a_mistake_of_the_caller_is_not_tried_again(mistake: httpx.TransportError) -> None:
    with pytest.raises(ServiceUnreachable, match="after 1 attempt: "):
        play(exchange(REQUEST, Retries()), mistake)


def test_attempts_are_bounded_and_the_last_reason_is_raised() -> None:
    with pytest.raises(ServiceUnreachable, match="ReadError after 2 attempts"):
        play(exchange(REQUEST, Retries(attempts=2)), RESET, RESET)
    with pytest.raises(ServiceOverloaded, match="503"):
        play(exchange(REQUEST, Retries(attempts=1)), answer(503, "<html>proxy</html>"))
