"""The HTTP protocol, which takes a plain POST /v1/infer from the socket to the scorer without an ASGI request.

That saves a task, a scope and a second write: about a third of the processor time of a request. A request that is not
plain (pipelined behind another, `Expect`, an upgrade, HTTP/1.0) becomes an ASGI request with the same answers.
"""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from edge.http.direct_cycle import CLOSE_LINE, DirectCycle, default_lines
from edge.http.head_protocol import HeadProtocol
from edge.http.request_head import MAX_HEADER_BYTES, HeadersTooLarge, NotHttp
from edge.infer_bodies import BODY_LIMIT
from edge.problems import CLOSE, BodyTooLarge, HttpError, problem_response

# Key of the endpoint in the lifespan's state.
STATE_KEY = "sira.infer"
# How long a connection that was answered 429 is not read.
REST_SECONDS = 0.05
# How long the rest of a refused request is read and dropped: closing at once could destroy the answer on its way.
LINGER_SECONDS = 1.0
MAX_LINGER_BYTES = 8 << 20
# The most that one read can hold beyond the end of a head: uvloop reads up to this much at once.
_READ_BYTES = 256 << 10


class DirectProtocol(HeadProtocol):
    """One connection. It closes when it has been idle for too long; waiting for the rest of a head counts as idle."""

    _idle_since = 0.0
    # The last answer has been written; what still arrives is dropped.
    _ended = False
    _dropped_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timeout_keep_alive_task:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None or self._ended:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > MAX_LINGER_BYTES:
                self.transport.close()
            return
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES + _READ_BYTES:
                self._end(HeadersTooLarge())
                return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # An upgrade may be ignored (RFC 9110, 7.8): what follows is the next request.
            if rest := data[upgrade.args[0] :]:
                self.data_received(rest)
        except httptools.HttpParserError:
            self._end(self._refusal or NotHttp())

    def on_headers_complete(self) -> None:
        version = self._checked_version()
        endpoint = self.app_state.get(STATE_KEY)
        if (
            endpoint is not None
            and self.url == b"/v1/infer"
            and (self.cycle is None or self.cycle.response_complete)
            and not self.expect_100_continue
            and version == "1.1"
            and self.parser.get_method() == b"POST"
            and not self.parser.should_upgrade()
        ):
            if self._declared_bytes > BODY_LIMIT:
                self._refuse(BodyTooLarge(BODY_LIMIT))
            cycle = DirectCycle(self, endpoint, self.parser.should_keep_alive() and not self._leaving)
            self.cycle = cycle  # type: ignore[assignment]
            self._head_bytes = -1
            cycle.begin(self._authorization)
            return
        self._begin_asgi(version)

    def _begin_asgi(self, version: str) -> None:
        self._make_scope(version)
        super().on_headers_complete()
        self.cycle.transport = _CycleTransport(self, self.cycle)  # type: ignore[assignment]
        if self._leaving:
            self.cycle.keep_alive = False
        self._head_bytes = -1

    def _should_upgrade_to_ws(self) -> bool:
        return False

    def on_response_complete(self) -> None:
        if self._ended:
            return
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._refusal is not None:
            self._answer(self._refusal)
            return
        self.flow.resume_reading()
        self._idle()

    def rest(self) -> None:
        """Pause reading after a 429, so that immediate retries do not starve admitted requests."""
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(REST_SECONDS, self._end_rest)

    def _end_rest(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def close_after_answer(self, unread: bool) -> None:
        """Close; linger while the caller may still be sending, because a reset would overtake the answer."""
        self._ended = True
        if not unread:
            self.transport.close()
        elif not self.transport.is_closing():
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.flow.resume_reading()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _end(self, refusal: HttpError) -> None:
        """Answer what cannot be parsed, after the answers that are due before it; then close.

        Each request gets one answer: a request that fails in its body and was answered before gets no second one.
        """
        self._refusal = refusal
        cycle = self.cycle
        in_body = self._head_bytes < 0 and cycle is not None and cycle.more_body
        if in_body and self.pipeline:
            self.pipeline.popleft()  # the newest, which has not started
        elif in_body and cycle.response_complete:
            self.close_after_answer(unread=True)
        elif in_body and isinstance(cycle, DirectCycle):
            cycle.fail(refusal)
        elif in_body:
            self._abandon(cycle)
        elif cycle is None or cycle.response_complete:
            self._answer(refusal)

    def _abandon(self, cycle: RequestResponseCycle) -> None:
        """End an ASGI request whose body cannot be parsed; what its application still sends is dropped."""
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.response_started:
            self.close_after_answer(unread=True)
        elif self._refusal is not None:
            self._answer(self._refusal)

    def _answer(self, refusal: HttpError) -> None:
        status, headers, body = problem_response(refusal)
        lines = b"".join([b"%b: %b\r\n" % header for header in headers if header != CLOSE])
        defaults = default_lines.of(self.server_state.default_headers)
        self.transport.write(STATUS_LINE[status] + defaults + lines + CLOSE_LINE + b"\r\n" + body)
        self.close_after_answer(unread=True)

    def _unset_keepalive_if_required(self) -> None:
        """Do nothing: our timer keeps running and checks for activity when it fires."""

    @property
    def _leaving(self) -> bool:
        """Return whether the server is shutting down (LeavingServer): each connection closes with its next answer."""
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


class _CycleTransport:
    """The transport as an ASGI request's cycle sees it: closing it waits for what the caller may still be sending."""

    def __init__(self, protocol: DirectProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        protocol = self._protocol
        protocol.close_after_answer(unread=self._cycle.more_body or protocol.cycle is not self._cycle)
