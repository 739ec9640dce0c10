"""A scorer on an event loop of its own, over real models and a real spool: everything of a worker but its socket."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from canary.split import Split
from scoring.event import parse_event
from scoring.job import Answer
from scoring.log.frame import Target
from scoring.log.prediction import Prediction
from scoring.log.spool import Spool
from scoring.models.control_slots import ServedControlGroup
from scoring.models.onnx_model import OnnxModel
from scoring.models.slots import ModelSlots, ProductSlot, ServedRollout, Snapshot
from scoring.reasons.worker.queue import ReasonsQueue
from scoring.scorer import Scorer
from scoring.telemetry import Telemetry
from tests.support.spooled import lines, waiting_groups

T = TypeVar("T")
ROLLOUT_ID = "11111111-2222-8333-8444-555555555555"


@dataclass(frozen=True)
class Room:
    """`slots` is what serves, `logged()` what the spool holds, by column."""

    slots: ModelSlots
    spool: Spool
    telemetry: Telemetry
    scorer: Scorer

    def serve(
        self,
        production: OnnxModel,
        canary: OnnxModel | None = None,
        *,
        percent: float = 100.0,
        shadow: float = 0.0,
        timeout_seconds: float = 0.25,
        rollout_id: str = ROLLOUT_ID,
        breaker: bool = False,
        control: ServedControlGroup | None = None,
    ) -> None:
        product = production.version.product
        rollout = (
            None
            if canary is None
            else ServedRollout(
                rollout_id=rollout_id,
                phase=1,
                split=Split(rollout_id, b"salt", percent),
                shadow=Split(rollout_id, b"shadow", shadow),
                timeout_seconds=timeout_seconds,
                canary=canary,
                same_fields=canary.version.signature.fields == production.version.signature.fields,
            )
        )
        slot = ProductSlot(product, production, rollout, breaker, control)
        slots = {**self.slots.current().products, product: slot}
        self.slots.swap(Snapshot(slots, synced=True))

    async def score(self, amount: float, event_id: str = "e", product: str = "cards", **payload: object) -> Answer:
        event = {"event_id": event_id, "product": product, "payload": {"amount": amount, **payload}}
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.scorer.submit(parse_event(event), answer)
        return await asyncio.wait_for(answer, 20)

    def logged(self, target: Target = "predictions") -> list[SimpleNamespace]:
        """Rows of the spool in order, each field as text, None for null."""
        from scoring.log.prediction import ControlledPrediction, FuseTripRow, PairedPrediction

        kinds: dict[Target, type[Any]] = {
            "predictions": Prediction,
            "controlled": ControlledPrediction,
            "paired": PairedPrediction,
            "trips": FuseTripRow,
        }
        names = kinds[target].__struct_fields__
        return [
            SimpleNamespace(
                **{
                    name: None if field == "\\N" else field
                    for name, field in zip(names, line.decode().split("\t"), strict=True)
                }
            )
            for line in lines(waiting_groups(self.spool.file), target)
        ]


def in_room(
    folder: Path,
    do: Callable[[Room], Awaitable[T]],
    *,
    cache_max_items: int = 1000,
    spool_max_bytes: int = 1 << 26,
    production_timeout_seconds: float = 2.0,
    reasons: Callable[[Spool], ReasonsQueue] | None = None,
) -> T:
    """What `do` gives, done on a fresh event loop with everything closed after it."""

    async def run() -> T:
        slots, telemetry = ModelSlots(), Telemetry()
        spool = Spool.open(folder / "spool", limit_bytes=spool_max_bytes)
        queue = reasons(spool) if reasons else None
        scorer = Scorer(
            slots,
            spool,
            telemetry,
            cache_max_items=cache_max_items,
            process="tests/1",
            production_timeout_seconds=production_timeout_seconds,
            reasons=queue,
        )
        try:
            return await do(Room(slots, spool, telemetry, scorer))
        finally:
            scorer.close()
            if queue:
                queue.stop(10)
            await asyncio.to_thread(spool.close)

    return asyncio.run(run())
