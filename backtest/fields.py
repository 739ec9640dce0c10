"""Amounts and segments of events: payload fields that figures are given for, whatever the model reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from registry.columns import parse_payloads

ABSENT = "(none)"
_BAND_EDGES = np.array([10.0**exponent for exponent in range(10)])
_BANDS = (
    "negative",
    "0",
    "below 1",
    *(f"{10**e:,} to {10 ** (e + 1):,}" for e in range(9)),
    f"from {10**9:,}",
    ABSENT,
)
_NUMBERS = (pa.float64(), pa.int64())


class EventFields:
    """Values of payload fields of a batch, from typed columns where there are any and from the text elsewhere."""

    def __init__(self, payloads: pa.Array, columns: Mapping[str, pa.Array]) -> None:
        self._payloads = payloads
        self._columns = columns
        self._parsed: list[dict[str, Any]] | None = None

    def numbers(self, name: str) -> Any:
        """Return a field's numbers, NaN where it has none."""
        column = self._columns.get(name)
        if column is not None and column.type in _NUMBERS:
            return column.cast(pa.float64()).fill_null(np.nan).to_numpy()
        return np.array([_number(value) for value in self._values(name)])

    def segment(self, name: str) -> tuple[Any, Sequence[str]]:
        """Return a code per event, and what each code stands for: a value, or a band of numbers."""
        column = self._columns.get(name)
        if column is not None and column.type in _NUMBERS:
            return self._banded(name)
        if column is None:
            column = pa.array([_text(value) for value in self._values(name)], pa.string())
        if column.type == pa.bool_():
            column = column.cast(pa.string())
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        texts = [*column.dictionary.to_pylist(), ABSENT]
        return column.indices.fill_null(len(texts) - 1).to_numpy(), texts

    def _banded(self, name: str) -> tuple[Any, Sequence[str]]:
        return _bands(self.numbers(name)), _BANDS

    def _values(self, name: str) -> list[Any]:
        if self._parsed is None:
            self._parsed = parse_payloads(self._payloads)
        return [payload.get(name) for payload in self._parsed]


def _bands(numbers: Any) -> Any:
    """Return the place of each number in _BANDS."""
    codes = np.searchsorted(_BAND_EDGES, numbers, side="right") + 2
    codes[numbers == 0] = 1
    codes[numbers < 0] = 0
    codes[np.isnan(numbers)] = len(_BANDS) - 1
    return codes


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str):
        return value
    return str(_BANDS[_bands(np.array([_number(value)]))[0]])
