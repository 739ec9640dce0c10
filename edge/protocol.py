"""uvicorn's HTTP protocol, which takes a plain POST /v1/infer from the socket to the scorer without an ASGI request.

No task, no scope passed around, one write: about a third of the processor time of a request. Whatever is not plain
(pipelined behind another request, `Expect`, an upgrade, HTTP/1.0) goes the ordinary way, with the same answers.
"""

import asyncio

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from edge.infer import BODY_LIMIT, InferEndpoint, encode
from edge.problems import CLOSE, BodyTooLarge, HttpError, TooManyRequests, problem_response
from edge.request_head import (
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_TARGET_BYTES,
    EncodingNotSupported,
    HeaderRepeated,
    HeadersTooLarge,
    HostMissing,
    NotHttp,
    TargetTooLong,
)
from scoring.job import Answer

assert BODY_LIMIT <= HIGH_WATER_LIMIT  # reading pauses there, and a longer body is refused before

# Where the lifespan's state names the endpoint.
STATE_KEY = "sira.infer"
# How long a connection that was answered 429 is not read.
REST_SECONDS = 0.05
# How long what a refused caller still sends is read and dropped: closing at once could destroy the answer on its way.
LINGER_SECONDS = 1.0
# What one read may hold beyond the end of a head: uvloop reads up to this much at once.
_READ_BYTES = 256 << 10
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_CLOSE = b"connection: close\r\n"


class DirectProtocol(HttpToolsProtocol):
    """One connection. It is closed when it has been idle too long, a request's unfinished head included."""

    _idle_since = 0.0
    _authorization: bytes | None = None
    _host = False
    _header_bytes = 0
    # Received since the head began, while it is not complete; -1 outside of a head.
    _head_bytes = -1
    _declared_bytes = 0
    # What the connection is closed with.
    _refusal: HttpError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES + _READ_BYTES:
                self._refusal = HeadersTooLarge()
                self.send_400_response("")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._authorization = None
        self._host = False
        self._header_bytes = self._head_bytes = self._declared_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        length = len(name)  # differs for nearly all of them
        self._header_bytes += length + len(value)
        if self._header_bytes > MAX_HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(HeadersTooLarge())
        if length == 13:
            if name.lower() == b"authorization":
                if self._authorization is not None:
                    self._refuse(HeaderRepeated("Authorization"))
                self._authorization = value
        elif length == 14:
            if name.lower() == b"content-length" and value.isdigit():
                self._declared_bytes = int(value)
        elif length == 16:
            if name.lower() == b"content-encoding" and value.strip().lower() not in (b"identity", b""):
                self._refuse(EncodingNotSupported())
        elif length == 4:
            if name.lower() == b"host":
                if self._host:
                    self._refuse(HeaderRepeated("Host"))
                self._host = True
        elif length == 6 and name.lower() == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True

    def _refuse(self, error: HttpError) -> None:
        """End the parsing of a request that no route may see: `send_400_response` answers it."""
        self._refusal = error
        raise error

    def send_400_response(self, msg: str) -> None:
        """Answer a refused request, or what is not HTTP, with a problem document; then close, but not at once."""
        self._refusal = refusal = self._refusal or NotHttp()
        status, headers, body = problem_response(refusal)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers if header != CLOSE])
        defaults = _default_lines.of(self.server_state.default_headers)
        self.transport.write(STATUS_LINE[status] + defaults + lines + _CLOSE + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        self._head_bytes = -1
        if len(self.url) > MAX_TARGET_BYTES:
            self._refuse(TargetTooLong())
        if not self._host and self.parser.get_http_version() == "1.1":
            self._refuse(HostMissing())
        endpoint = self.app_state.get(STATE_KEY)
        if (
            endpoint is not None
            and self.url == b"/v1/infer"
            and (self.cycle is None or self.cycle.response_complete)
            and not self.expect_100_continue
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
        ):
            if self._declared_bytes > BODY_LIMIT:
                self._refuse(BodyTooLarge(BODY_LIMIT))
            cycle = DirectCycle(self, endpoint, self.parser.should_keep_alive() and not self._leaving)
            self.cycle = cycle  # type: ignore[assignment]
            cycle.begin(self._authorization)
            return
        # The ordinary way needs what on_message_begin left out.
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend((name.lower(), value) for name, value in headers)
        super().on_headers_complete()
        if self._leaving and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self._idle()

    def rest(self) -> None:
        """Read nothing for a moment: who asks again at once would be refused at the cost of those who are answered."""
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(REST_SECONDS, self._end_rest)

    def _end_rest(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn cancels its timer at every request; ours runs on and looks whether there was one."""

    @property
    def _leaving(self) -> bool:
        """Whether the server ends (LeavingServer): each connection closes with its next answer."""
        return getattr(self.server_state, "leaving", False)

    def _idle(self) -> None:
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self.timeout_keep_alive_task = None
        if self.cycle is not None and not self.cycle.response_complete:
            return  # its response arms the timer again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._close_if_idle)
        else:
            self.timeout_keep_alive_handler()


class _DefaultLines:
    """uvicorn's own headers as bytes: it makes a new list, for the date, each second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            self._headers = headers
            self._lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._lines


_default_lines = _DefaultLines()


class DirectCycle:
    """One request and its answer: to uvicorn a request cycle, to the scorer the reply it fills."""

    __slots__ = (
        "_endpoint", "_protocol", "_started", "body", "disconnected", "keep_alive", "more_body", "response_complete",
    )  # fmt: skip

    def __init__(self, protocol: DirectProtocol, endpoint: InferEndpoint, keep_alive: bool) -> None:
        self._protocol = protocol
        self._endpoint = endpoint
        self._started = False
        self.body = bytearray()
        self.more_body = True
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def begin(self, authorization: bytes | None) -> None:
        """Wait for the body, or refuse it: what still comes of it is then passed over."""
        try:
            self._endpoint.admit(self, authorization)
        except TooManyRequests as error:
            self.set_exception(error)
            self._protocol.rest()
        except Exception as error:
            self.set_exception(error)

    @property
    def message_event(self) -> "DirectCycle":
        """uvicorn sets this event when the body grows, when it is complete, and when the connection is lost."""
        return self

    def set(self) -> None:
        if self.disconnected:
            self._endpoint.left(self)
        elif len(self.body) > BODY_LIMIT:
            self.keep_alive = False
            self.set_exception(BodyTooLarge(BODY_LIMIT))
        elif not self.more_body and not self._started:
            self._started = True
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
        lines = [b"%b: %b\r\n" % header for header in headers if header[0] not in (b"connection", b"content-length")]
        self._finish(status, STATUS_LINE[status] + b"".join(lines), body)

    def cancel(self) -> None:
        """It is over its time."""
        if not self.done():
            self.keep_alive = False
            self.set_exception(self._endpoint.out_of_time(arrived=not self.more_body))

    def _finish(self, status: int, head: bytes, body: bytes) -> None:
        self.response_complete = True
        self._endpoint.left(self)
        self._endpoint.answered(status)
        protocol = self._protocol
        lines = _default_lines.of(protocol.server_state.default_headers)
        end = b"" if self.keep_alive else _CLOSE
        protocol.transport.write(b"%b%b%bcontent-length: %d\r\n\r\n%b" % (head, lines, end, len(body), body))
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
