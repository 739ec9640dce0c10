"""The expected errors of a backtest."""

from collections.abc import Sequence

from registry import printable


class BacktestError(Exception):
    """A backtest cannot run, or has no result; the message says what to do."""


class TooManyValues(BacktestError):
    def __init__(self, field: str, limit: int) -> None:
        super().__init__(
            f"segment {printable(field)} has more than {limit} values: choose a field with fewer, or a number"
        )


class NoEvents(BacktestError):
    def __init__(self, product: str, since: object, until: object) -> None:
        super().__init__(f"the log has no decided event of {product} from {since} to {until} (UTC days)")


class CostsInvalid(BacktestError):
    """Every fault of a cost table at once."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("cost table: " + "; ".join(self.faults))


class BacktestNotFound(BacktestError):
    def __init__(self, backtest_id: str) -> None:
        super().__init__(f"no backtest {backtest_id}; GET /v1/backtests lists them")
