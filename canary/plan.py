"""The plan of a rollout: steps of rising percentage, frozen with the rollout, checked when it is read."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from canary.limits import Name, Percent
from runtime.reading import Violation

Gate = Literal["auto", "manual"]

_HOUR = 3600


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share of traffic, held for at least `bake_seconds`. A manual gate also waits for an operator."""

    percent: Percent
    bake_seconds: Annotated[int, Meta(ge=0, le=90 * 24 * _HOUR)] = 24 * _HOUR
    gate: Gate = "auto"


class BacktestGate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backtest must show before the rollout may start; null asks for nothing.

    Ratios are the canary's figure to the logged one: of blocked events, and of the share of fraud that is blocked.
    """

    required: bool = True
    days: Annotated[int, Meta(ge=1, le=366)] = 14
    max_block_ratio: Annotated[float, Meta(gt=0)] | None = 1.5
    min_recall_ratio: Annotated[float, Meta(gt=0)] | None = 0.95


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps of rising percentage; passing the last one promotes."""

    steps: Annotated[tuple[Step, ...], Meta(min_length=1)]
    name: Name = "custom"
    backtest: BacktestGate | None = None

    @staticmethod
    def check(fields: Mapping[str, Any]) -> Iterator[Violation]:
        if any(later.percent <= earlier.percent for earlier, later in pairwise(fields.get("steps", ()))):
            yield Violation("/steps", "every percent must be above the one before it")


DEFAULT_PLAN = Plan(
    name="default",
    steps=(
        Step(percent=10, bake_seconds=24 * _HOUR),
        Step(percent=25, bake_seconds=24 * _HOUR),
        Step(percent=50, bake_seconds=48 * _HOUR),
        Step(percent=100, bake_seconds=72 * _HOUR),
    ),
)
NAMED_PLANS = {DEFAULT_PLAN.name: DEFAULT_PLAN}
