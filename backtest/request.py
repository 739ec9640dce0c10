"""What is asked of a backtest."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

MAX_DAYS = 366
MAX_SEGMENTS = 8
DEFAULT_DAYS = 30

_Name = Annotated[str, Meta(min_length=1, max_length=128)]


class BacktestToRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version, and the days of the log to replay with it, which end with the day `until`, by default today (UTC).

    `maturity_days`: labels count of events that are older; by default LABEL_MATURITY_DAYS. `cost`: what each decision
    costs by label, such as `{"fraud_allow": {"share_of_amount": 1}, "legitimate_block": {"per_event": 5}}`.
    """

    model_id: _Name
    days: Annotated[int, Meta(ge=1, le=MAX_DAYS)] = DEFAULT_DAYS
    until: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None
    maturity_days: Annotated[float, Meta(ge=0, le=MAX_DAYS)] | None = None
    unlabelled_are_legitimate: bool = False
    amount_field: _Name = "amount"
    segments: Annotated[list[_Name], Meta(max_length=MAX_SEGMENTS)] = []
    cost: dict[str, Any] | None = None
