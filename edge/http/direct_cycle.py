"""One plain POST /v1/infer and its answer, without an ASGI request."""

from typing import TYPE_CHECKING

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from edge.infer import InferEndpoint, encode
from edge.infer_bodies import BODY_LIMIT
from edge.problems import CLOSE, BodyTooLarge, TooManyRequests, problem_response
from scoring.job import Answer

if TYPE_CHECKING:
    from edge.http.protocol import DirectProtocol

assert BODY_LIMIT <= HIGH_WATER_LIMIT  # uvicorn pauses reading there; a longer body is refused before

CLOSE_LINE = b"connection: close\r\n"
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
# Written by DirectCycle itself.
_OWN_HEADERS = (b"connection", b"content-length")


class DirectCycle:
    """One object in four roles, because each further object per request costs about a microsecond.

    - uvicorn's request cycle: the attributes `body`, `more_body`, `keep_alive`, `disconnected`, `response_complete`.
    - uvicorn's message event: `message_event` and `set`.
    - the scorer's Reply: `done`, `set_result` and `set_exception`.
    - a request in flight, which the endpoint's sweep may end: `cancel`.
    """

    __slots__ = (
        "_endpoint", "_protocol", "_submitted", "body", "disconnected", "keep_alive", "more_body", "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: "DirectProtocol", endpoint: InferEndpoint, keep_alive: bool) -> None:
        self._protocol = protocol
        self._endpoint = endpoint
        self._submitted = False
        self.body = bytearray()
        self.more_body = True
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def begin(self, authorization: bytes | None) -> None:
        """Admit the request, or answer with the error and ignore its body."""
        try:
            self._endpoint.admit(self, authorization)
        except TooManyRequests as error:
            self.set_exception(error)
            self._protocol.rest()
        except Exception as error:
            self.set_exception(error)

    @property
    def message_event(self) -> "DirectCycle":
        return self

    def set(self) -> None:
        """The body has grown or is complete, or the connection is lost: uvicorn calls this for each."""
        if self.disconnected:
            self._endpoint.release(self)
        elif len(self.body) > BODY_LIMIT:
            self.fail(BodyTooLarge(BODY_LIMIT))
        elif not self.more_body and not self._submitted:
            self._submitted = True
            try:
                self._endpoint.submit(bytes(self.body), self)
            except Exception as error:
                self.set_exception(error)

    def done(self) -> bool:
        return self.disconnected or self.response_complete

    def set_result(self, answer: Answer, /) -> None:
        self._finish(200, _OK, encode(answer))

    def set_exception(self, error: Exception, /) -> None:
        status, headers, body = problem_response(error)
        if CLOSE in headers:
            self.keep_alive = False
        lines = [b"%b: %b\r\n" % header for header in headers if header[0] not in _OWN_HEADERS]
        self._finish(status, STATUS_LINE[status] + b"".join(lines), body)

    def cancel(self) -> None:
        """End a request that has run out of time."""
        if not self.done():
            self.fail(self._endpoint.out_of_time(arrived=not self.more_body))

    def fail(self, error: Exception) -> None:
        """Answer with the error, then close the connection."""
        self.keep_alive = False
        self.set_exception(error)

    def _finish(self, status: int, head: bytes, body: bytes) -> None:
        self.response_complete = True
        self._endpoint.release(self)
        self._endpoint.count(status)
        protocol = self._protocol
        lines = default_lines.of(protocol.server_state.default_headers)
        end = b"" if self.keep_alive else CLOSE_LINE
        protocol.transport.write(b"%b%b%bcontent-length: %d\r\n\r\n%b" % (head, lines, end, len(body), body))
        if not self.keep_alive:
            protocol.close_after_answer(self.more_body)
        protocol.on_response_complete()


class _DefaultLines:
    """uvicorn's own headers as bytes. uvicorn makes a new list each second, because of the date."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers = headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines


default_lines = _DefaultLines()
