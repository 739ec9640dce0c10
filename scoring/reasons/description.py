"""What callers get as the reasons of a prediction: its fields by absolute impact."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from registry.feed import Row
from registry.reason_codes import ReasonCodes
from registry.signature import Value
from scoring.reasons.background import Source, ValueClass
from scoring.reasons.explanation import Impacts, Method, Scale, to_log_odds

Direction = Literal["raises", "lowers", "none"]
# Below this the score is that of the background, and the slope between two points is not known.
_SAME = 1e-9


class FieldReason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One field's part in a score.

    `log_odds` and `probability` are its impact, from the background's mean score to this one; each adds up over the
    fields. `log_odds` is null where it is infinite. `value_class` is where the value lies within the background.
    `code` and `sentence` are what the version's reason codes say of it.
    """

    rank: int
    field: str
    value_class: ValueClass
    direction: Direction
    log_odds: float | None
    probability: float
    standard_error: float | None = None
    code: str | None = None
    sentence: str | None = None


class BaseValue(msgspec.Struct, frozen=True):
    """What the model answers to the background: the score without any of the event's fields."""

    log_odds: float | None
    probability: float


class LoggedField(FieldReason, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A field's part in a score, with the value that was logged; null also stands for an absent field."""

    value: Value | None


class BackgroundUsed(msgspec.Struct, frozen=True):
    """The frozen sample of ordinary events that the impacts are relative to."""

    sha256: str
    rows: int
    source: Source


class PredictionReasons(msgspec.Struct, frozen=True):
    """Why a prediction came out as it did: the Shapley values of its payload fields, the largest first.

    `scale` is the one on which base and impacts add up to the model's own margin; the other is in proportion.
    """

    prediction_id: str
    product: str
    model_id: str
    model_version: str
    artifact_sha256: str
    score: float
    decision: str
    method: Method
    scale: Scale
    base: BaseValue
    background: BackgroundUsed
    fields: list[LoggedField]


def base_value(base: float, scale: Scale) -> BaseValue:
    probability = _probability(base, scale)
    return BaseValue(_finite(to_log_odds(probability) if scale == "probability" else base), probability)


def field_reasons(
    impacts: Impacts,
    names: Sequence[str],
    class_of: Callable[[int, Any], ValueClass],
    codes: ReasonCodes,
    rows: Sequence[Row],
    top: int | None = None,
) -> list[list[FieldReason]]:
    """Return the reasons of each event of `impacts`, whose values are in `rows`: the largest, all or the `top` ones."""
    order = np.argsort(-np.abs(impacts.values), axis=1, kind="stable")[:, :top].tolist()
    values = impacts.values.tolist()
    errors = [None] * len(values) if impacts.errors is None else impacts.errors.tolist()
    found = []
    for places, of_event, its_errors, row in zip(order, values, errors, rows, strict=True):
        as_log_odds, as_probability = slopes(impacts.base, impacts.base + math.fsum(of_event), impacts.scale)
        reasons = []
        for rank, place in enumerate(places, 1):
            value, direction = of_event[place], _direction(of_event[place])
            code = codes.find(names[place], direction, row[place])
            reasons.append(
                FieldReason(
                    rank,
                    names[place],
                    class_of(place, row[place]),
                    direction,
                    _finite(value * as_log_odds),
                    value * as_probability,
                    its_errors[place] if its_errors else None,
                    code.code if code else None,
                    code.sentence if code else None,
                )
            )
        found.append(reasons)
    return found


def with_value(reason: FieldReason, value: Any) -> LoggedField:
    return LoggedField(**msgspec.structs.asdict(reason), value=value)


def slopes(base: float, margin: float, scale: Scale) -> tuple[float, float]:
    """Return what one unit of impact is in log odds and in probability: in proportion on the scale it is not on."""
    low, high = _probability(base, scale), _probability(margin, scale)
    same = abs(margin - base) < _SAME
    spread = high * (1 - high)
    if scale == "log_odds":
        return 1.0, spread if same else (high - low) / (margin - base)
    if same:
        return (1 / spread if spread else math.inf), 1.0
    return (to_log_odds(high) - to_log_odds(low)) / (margin - base), 1.0


def _probability(margin: float, scale: Scale) -> float:
    """Return a margin's probability, as `to_probability` does for arrays: numpy takes ten times as long for one."""
    if scale == "probability":
        return min(max(margin, 0.0), 1.0)  # a forest's float32 sums leave [0, 1] by about 1e-7
    small = math.exp(-abs(margin))
    return (1.0 if margin >= 0 else small) / (1.0 + small)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _direction(value: float) -> Direction:
    if value == 0.0:
        return "none"
    return "raises" if value > 0 else "lowers"
