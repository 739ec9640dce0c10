"""A client of the API for Python services: `SiraClient`, and `AsyncSiraClient` for asyncio.

    with SiraClient("http://sira-inference:8080", token) as client:
        scored = client.infer("fraud_score", {"amount": 100, "currency": "USD"}, event_id="payment-17")
        if scored.decision == "block": ...

It imports nothing else of this project, and needs httpx and msgspec only.
"""

from sira.client.clients import AsyncSiraClient, SiraClient
from sira.client.errors import (
    NotAdmitted,
    RequestInvalid,
    ServiceOverloaded,
    ServiceProblem,
    ServiceUnreachable,
    SiraError,
)
from sira.client.exchange import Retries
from sira.client.messages import EventLabel, EventProblem, EventReason, LabelsReceipt, ScoredEvent, Transaction

__all__ = [
    "AsyncSiraClient",
    "EventLabel",
    "EventProblem",
    "EventReason",
    "LabelsReceipt",
    "NotAdmitted",
    "RequestInvalid",
    "Retries",
    "ScoredEvent",
    "ServiceOverloaded",
    "ServiceProblem",
    "ServiceUnreachable",
    "SiraClient",
    "SiraError",
    "Transaction",
]
