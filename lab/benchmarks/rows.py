"""Rows of the prediction log as a worker writes them, made without a worker."""

from collections.abc import Iterator, Sequence
from itertools import islice
from uuid import UUID

import msgspec

from lab.benchmarks.model import PRODUCT, Row
from scoring.log.prediction import Prediction, payload_sha256, prediction_id

_canonical = msgspec.json.Encoder(order="sorted").encode
MODEL_ID = str(UUID(int=113))


def predictions(
    payloads: Sequence[Row],
    count: int,
    *,
    tag: str,
    started: float,
    product: str = PRODUCT,
    model_id: str = MODEL_ID,
) -> Iterator[Prediction]:
    """Yield `count` distinct rows, 10,000 per second from `started` (epoch seconds); `tag` begins their event ids."""
    for number in range(count):
        canonical = _canonical(payloads[number % len(payloads)])
        digest = payload_sha256(canonical)
        event_id = f"{tag}-{number}"
        score = number * 2654435761 % 2**32 / 2**32
        yield Prediction(
            prediction_id=prediction_id(model_id, product, event_id, digest),
            created_at=started + number / 10_000,
            product=product,
            event_id=event_id,
            routing_key=event_id,
            payload=canonical.decode(),
            payload_sha256=digest,
            model_id=model_id,
            model_version="benchmark",
            artifact_sha256="a" * 64,
            runtime_version="onnxruntime 1.32.0",
            score=score,
            decision="block" if score > 0.99 else "review" if score > 0.965 else "allow",
            review_threshold=0.965,
            block_threshold=0.99,
            variant="production",
            arm="production",
            rollout_id=None,
            phase=None,
            cached=False,
            latency_seconds=0.002 + score / 100,
            model_seconds=0.0003 + score / 10_000,
            outcome="ok",
        )


def batched(rows: Iterator[Prediction], size: int) -> Iterator[list[Prediction]]:
    while batch := list(islice(rows, size)):
        yield batch
