"""POST /v1/breaker/{product}: let the guard make reviews of a product's blocks, and lift that."""

from typing import Annotated

import msgspec
from msgspec import Meta

from edge.control.routes import Access, Call, Reply, Route
from monitoring.breaker.rule import Breaker
from monitoring.breaker.store import set_breaker
from registry.reason import Reason


class BreakerToSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is: at first a share of 0.05 and 900 quiet seconds."""

    enabled: bool
    max_block_share: (
        Annotated[float, Meta(ge=0, le=1, description="The share of blocks above which the breaker trips.")] | None
    ) = None
    quiet_seconds: (
        Annotated[int, Meta(ge=10, le=30 * 86_400, description="How long the guard is quiet before it is lifted.")]
        | None
    ) = None
    reason: Reason | None = None


def set_one(call: Call) -> Reply:
    wanted: BreakerToSet = call.body
    with call.resources.connect() as connection:
        breaker = set_breaker(
            connection,
            call.path["product"],
            enabled=wanted.enabled,
            max_block_share=wanted.max_block_share,
            quiet_seconds=wanted.quiet_seconds,
            actor=call.actor,
            reason=wanted.reason,
        )
    return Reply(breaker)


ROUTES = (
    Route(
        "POST",
        "/v1/breaker/{product}",
        Access.ML_OPS,
        set_one,
        "Models",
        "Set or lift a product's breaker",
        takes=BreakerToSet,
        gives={200: Breaker},
        refuses=(404, 409),
        notes="Once enabled, it trips when the guard fires and more than max_block_share of the last minute's events "
        "are blocked: every worker then answers review instead of block. It is lifted when the guard has been quiet "
        "for quiet_seconds, by enabled false, and by a limit above the share that tripped it.",
    ),
)
