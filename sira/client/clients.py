"""The two clients: the same calls, for threads and for asyncio."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from sira.client.exchange import Exchange, Pause, Retries, exchange
from sira.client.messages import (
    EventLabel,
    EventProblem,
    LabelsReceipt,
    ScoredEvent,
    Transaction,
    batch_bodies,
    encode,
    label_bodies,
    read_batch,
    read_receipt,
    read_scored,
)

DEFAULT_TIMEOUT_SECONDS = 1.0
DEFAULT_RETRIES = Retries()


def transaction(
    product: str, payload: Mapping[str, Any], event_id: str | None, routing_key: str | None, reasons: bool
) -> Transaction:
    """Return the event; one without an id is given one here, so that all attempts send the same."""
    named = {} if event_id is None else {"event_id": event_id}
    return Transaction(product, payload, routing_key=routing_key, reasons=reasons, **named)


def _headers(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "content-type": "application/json"}


def _sum(receipts: Sequence[LabelsReceipt]) -> LabelsReceipt:
    return LabelsReceipt(sum(one.received for one in receipts), sum(one.new for one in receipts))


class SiraClient:
    """A client for threads, which may share it. `timeout_seconds` is for one attempt.

    Calls raise ServiceProblem (RequestInvalid, NotAdmitted, ServiceOverloaded), or ServiceUnreachable.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(token), timeout=timeout_seconds)
        self._retries = retries

    def infer(
        self,
        product: str,
        payload: Mapping[str, Any],
        *,
        event_id: str | None = None,
        routing_key: str | None = None,
        reasons: bool = False,
    ) -> ScoredEvent:
        """Score one event. Repeat it with the same `event_id`, and it has the same prediction.

        With `reasons`, the answer names the fields with the largest impact.
        """
        return read_scored(
            self._post("/v1/infer", encode(transaction(product, payload, event_id, routing_key, reasons)))
        )

    def infer_batch(self, events: Sequence[Transaction]) -> list[ScoredEvent | EventProblem]:
        """Score any number of events; return one answer or problem for each, in order."""
        return [result for body in batch_bodies(events) for result in read_batch(self._post("/v1/infer/batch", body))]

    def add_labels(self, labels: Sequence[EventLabel]) -> LabelsReceipt:
        """Add confirmed outcomes. Safe to repeat."""
        return _sum([read_receipt(self._post("/v1/labels", body)) for body in label_bodies(labels)])

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _post(self, path: str, body: bytes) -> bytes:
        return self._run(exchange(self._http.build_request("POST", path, content=body), self._retries))

    def _run(self, call: Exchange) -> bytes:
        received: httpx.Response | httpx.TransportError | None = None
        try:
            while True:
                step = call.send(received)
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    received = None
                    continue
                try:
                    received = self._http.send(step)
                except httpx.TransportError as error:
                    received = error
        except StopIteration as done:
            return bytes(done.value)


class AsyncSiraClient:
    """The same client for asyncio."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(token), timeout=timeout_seconds)
        self._retries = retries

    async def infer(
        self,
        product: str,
        payload: Mapping[str, Any],
        *,
        event_id: str | None = None,
        routing_key: str | None = None,
        reasons: bool = False,
    ) -> ScoredEvent:
        """Score one event. Repeat it with the same `event_id`, and it has the same prediction.

        With `reasons`, the answer names the fields with the largest impact.
        """
        body = encode(transaction(product, payload, event_id, routing_key, reasons))
        return read_scored(await self._post("/v1/infer", body))

    async def infer_batch(self, events: Sequence[Transaction]) -> list[ScoredEvent | EventProblem]:
        """Score any number of events; return one answer or problem for each, in order."""
        results: list[ScoredEvent | EventProblem] = []
        for body in batch_bodies(events):
            results += read_batch(await self._post("/v1/infer/batch", body))
        return results

    async def add_labels(self, labels: Sequence[EventLabel]) -> LabelsReceipt:
        """Add confirmed outcomes. Safe to repeat."""
        return _sum([read_receipt(await self._post("/v1/labels", body)) for body in label_bodies(labels)])

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _post(self, path: str, body: bytes) -> bytes:
        call = exchange(self._http.build_request("POST", path, content=body), self._retries)
        received: httpx.Response | httpx.TransportError | None = None
        try:
            while True:
                step = call.send(received)
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    received = None
                    continue
                try:
                    received = await self._http.send(step)
                except httpx.TransportError as error:
                    received = error
        except StopIteration as done:
            return bytes(done.value)
