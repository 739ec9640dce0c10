"""GET and POST /v1/control-group/{product}: let a small share of blocks through, so that their labels become known."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.control.routes import Access, Call, Reply, Route
from edge.problems import HttpError
from monitoring.control_group.rule import MAX_PER_DAY, MAX_SHARE, ControlGroup, ControlGroupToday
from monitoring.control_group.store import control_groups, set_control_group
from registry.reason import Reason


class ControlGroupToSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is: at first a share of 0.005, `review`, and 20 events per day.

    `max_amount` has no default: the group cannot be on without it.
    """

    enabled: bool
    reason: Reason
    share: (
        Annotated[float, Meta(gt=0, le=MAX_SHARE, description="The share of would-be blocks that is let through.")]
        | None
    ) = None
    answer: (
        Annotated[Literal["review", "allow"], Meta(description="What they are answered instead of block.")] | None
    ) = None
    max_per_day: (
        Annotated[int, Meta(ge=1, le=MAX_PER_DAY, description="At most so many per UTC day, of all workers together.")]
        | None
    ) = None
    max_amount: (
        Annotated[float, Meta(ge=0, le=1e300, description="An event with a larger amount, or none, stays blocked.")]
        | None
    ) = None
    amount_field: (
        Annotated[str, Meta(min_length=1, max_length=128, description="The payload field that has the amount.")] | None
    ) = None


def show(call: Call) -> Reply:
    product = call.path["product"]
    with call.resources.connect() as connection:
        found = next((group for group in control_groups(connection) if group.product == product), None)
    if found is None:
        raise HttpError(404, f"{product} has no control group")
    return Reply(found)


def set_one(call: Call) -> Reply:
    wanted: ControlGroupToSet = call.body
    with call.resources.connect() as connection:
        group = set_control_group(connection, call.path["product"], actor=call.actor, **msgspec.structs.asdict(wanted))
    return Reply(group)


ROUTES = (
    Route(
        "GET",
        "/v1/control-group/{product}",
        Access.VIEWER,
        show,
        "Models",
        "Show a product's control group, and what it did today",
        gives={200: ControlGroupToday},
        refuses=(404,),
    ),
    Route(
        "POST",
        "/v1/control-group/{product}",
        Access.ML_OPS,
        set_one,
        "Models",
        "Set a product's control group, or switch it off",
        takes=ControlGroupToSet,
        gives={200: ControlGroup},
        refuses=(404, 409),
        notes="While it is enabled, every worker gives `answer` to a share of the events that a model wants to "
        "block, and logs the probability: otherwise nobody learns what the blocks would have been. At most "
        "max_per_day events pass, each with an amount of at most max_amount. A tripped breaker comes first.",
    ),
)
