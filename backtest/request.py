"""What is asked of a backtest."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backtest.errors import BacktestError

MAX_DAYS = 366
MAX_SEGMENTS = 8
DEFAULT_DAYS = 30
DEFAULT_AMOUNT_FIELD = "amount"

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
    amount_field: _Name = DEFAULT_AMOUNT_FIELD
    segments: Annotated[list[_Name], Meta(max_length=MAX_SEGMENTS)] = []
    cost: dict[str, Any] | None = None

    def period(self, now: datetime) -> tuple[date, date]:
        """Return the first and the last day; raises BacktestError."""
        try:
            until = now.astimezone(UTC).date() if self.until is None else date.fromisoformat(self.until)
        except ValueError:
            raise BacktestError("until must be a day such as 2026-11-26") from None
        return until - timedelta(days=self.days - 1), until
