"""POST /v1/infer and /v1/infer/batch: admission, and the answers to ASGI requests."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
from starlette.types import Receive, Scope, Send

from edge.http.body import check_declared_length, header, read_body
from edge.http.counters import HttpCounters
from edge.infer_bodies import BATCH_BODY_LIMIT, BODY_LIMIT, BatchItem, BatchScored, BatchToScore
from edge.problems import Forbidden, HttpError, TooManyRequests, document, send_problem
from runtime.auth import Authenticator, Caller
from runtime.reading import InputInvalid, Violation, read
from scoring.batch_reply import AnswerOrError, BatchReply
from scoring.columns.envelopes import read_envelopes
from scoring.event import parse_event, parse_json, read_event
from scoring.job import Answer, AnswerReceiver
from scoring.scorer import Scorer

encode = msgspec.json.Encoder().encode
JSON_CONTENT = (b"content-type", b"application/json")


class Scored(NamedTuple):
    """The body of an answer with status 200, and its headers without the length."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (JSON_CONTENT,)


class Cancellable(Protocol):
    def cancel(self) -> object: ...


class InferEndpoint:
    """Authenticate, admit, read, score, answer. `sweep` ends requests that take too long."""

    def __init__(
        self,
        scorer: Scorer,
        authenticator: Authenticator,
        counters: HttpCounters,
        *,
        max_concurrency: int,
        timeout_seconds: float,
    ) -> None:
        self._scorer = scorer
        self._authenticator = authenticator
        self._accept = authenticator.service_tokens.accept
        self.counters = counters
        self._max_concurrency = max_concurrency
        self._timeout_seconds = timeout_seconds
        # Start times of requests in flight, oldest first.
        self._in_flight: dict[Cancellable, float] = {}

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    async def infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer(self._one, BODY_LIMIT, scope["path"], scope, receive, send)

    async def batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer(self._many, BATCH_BODY_LIMIT, scope["path"], scope, receive, send)

    def sweep(self, now: float) -> None:
        """End requests that have run out of time; `now` is time.monotonic()."""
        for request, started in list(self._in_flight.items()):
            if now - started <= self._timeout_seconds:
                break
            request.cancel()

    def admit(self, request: Cancellable, authorization: bytes | None) -> None:
        """Take a concurrency slot; `release` it when the request has been answered or its caller has gone.

        Raises TokenRefused, Forbidden and TooManyRequests. Authenticate before taking a slot: requests without a token
        must not keep out those with one.
        """
        self._authorize(authorization)
        if len(self._in_flight) >= self._max_concurrency:
            self.counters.rejected("concurrency")
            raise TooManyRequests
        self._in_flight[request] = time.monotonic()

    def release(self, request: Cancellable) -> None:
        self._in_flight.pop(request, None)

    def submit(self, body: bytes, reply: AnswerReceiver) -> None:
        """Score one event into `reply`. Raises BodyNotJson, InputInvalid, ProductUnknown and ModelNotLoaded."""
        self._scorer.submit(read_event(body), reply)

    def count(self, status: int) -> None:
        self.counters.response("/v1/infer", status)

    def out_of_time(self, *, arrived: bool) -> HttpError:
        """Return 408 while the body is on its way, 503 once it has arrived."""
        self.counters.rejected("timeout")
        if arrived:
            return HttpError(503, f"no answer within {self._timeout_seconds:g} s: try again")
        return HttpError(408, f"no complete request within {self._timeout_seconds:g} s")

    async def answer(
        self,
        score: Callable[[bytes], Awaitable[Scored]],
        limit: int,
        route: str,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        refuse: Callable[[Send, Exception], Awaitable[int]] = send_problem,
    ) -> None:
        """Authorize, read at most `limit` bytes, score and answer; `refuse` answers an error and returns its status."""
        task = asyncio.current_task()
        assert task is not None
        try:
            check_declared_length(scope["headers"], limit)
            self.admit(task, header(scope["headers"], b"authorization"))
        except Exception as error:
            self.counters.response(route, await refuse(send, error))
            return
        started = self._in_flight[task]
        arrived = False
        failed: Exception | None = None
        try:
            body = await read_body(scope, receive, limit)
            arrived = True
            answer = await score(body)
        except asyncio.CancelledError:
            if time.monotonic() - started <= self._timeout_seconds:
                raise
            failed = self.out_of_time(arrived=arrived)
        except Exception as error:
            failed = error
        finally:
            del self._in_flight[task]
        if failed is not None:
            self.counters.response(route, await refuse(send, failed))
            return
        self.counters.response(route, 200)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*answer.headers, (b"content-length", b"%d" % len(answer.body))],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    async def _one(self, body: bytes) -> Scored:
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.submit(body, reply)
        return Scored(encode(await reply))

    async def _many(self, body: bytes) -> Scored:
        outcomes = await self.batch_outcomes(body)
        return Scored(encode(BatchScored([_item(outcome) for outcome in outcomes])))

    async def batch_outcomes(self, body: bytes) -> list[AnswerOrError]:
        """Score the events of a batch by column, and what is odd about them event by event."""
        envelopes = read_envelopes(body)
        if envelopes is None:
            return await self.outcomes(read(BatchToScore, parse_json(body)).events)
        groups = self._scorer.columns(envelopes)
        reply = BatchReply(len(envelopes))
        together = {place for group in groups for place in group.places}
        if len(together) < len(envelopes):
            # Raises for a body that is refused as a whole, before an event is scored.
            events = read(BatchToScore, parse_json(body)).events
            self._submit_each({place: event for place, event in enumerate(events) if place not in together}, reply)
        for group in groups:
            self._scorer.submit_columns(group, reply)
        return await reply.complete

    async def outcomes(self, events: Sequence[object]) -> list[AnswerOrError]:
        """Score decoded bodies of events; return the answer or the error of each, in order."""
        reply = BatchReply(len(events))
        self._submit_each(dict(enumerate(events)), reply)
        return await reply.complete

    def _submit_each(self, events: Mapping[int, object], reply: BatchReply) -> None:
        for place, event in events.items():
            try:
                parsed = parse_event(event)
                if parsed.reasons:
                    raise InputInvalid([Violation("/reasons", "is not taken in a batch: send the event to /v1/infer")])
                self._scorer.submit(parsed, reply.at(place))
            except Exception as error:
                reply.put((place,), (error,))

    def _authorize(self, authorization: bytes | None) -> None:
        if authorization is not None and self._accept(authorization):
            return
        if self._authenticator.identify(authorization).role is None:  # raises what 401 answers
            return
        raise Forbidden("a service token: people's tokens do not score")

    def identify(self, authorization: bytes | None) -> Caller:
        """Return the caller, a service or a person; raises TokenRefused."""
        return self._authenticator.identify(authorization)


def _item(outcome: AnswerOrError) -> BatchItem:
    return BatchItem(error=document(outcome)) if isinstance(outcome, Exception) else BatchItem(answer=outcome)
