"""Labels of events as services send them and as files hold them; every fault is named at once."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TextIO, get_args

from canary.errors import CanaryError

LabelKind = Literal["fraud", "legitimate"]

MAX_LABELS = 10_000
MAX_FAULTS = 50
# A label from the future means a wrong clock or column; a small difference between clocks is normal.
CLOCK_SKEW = timedelta(minutes=5)

_LONGEST = {"product": 64, "event_id": 128, "source": 64}
_FIELDS = ("product", "event_id", "label", "source", "labelled_at")


class LabelsInvalid(CanaryError):
    """`faults` names every wrong field, up to MAX_FAULTS."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("correct the labels: " + "; ".join(self.faults))


@dataclass(frozen=True, slots=True)
class Label:
    """`source` is where the label comes from, such as chargeback or review.

    `labelled_at` has a time zone; the latest label counts.
    """

    product: str
    event_id: str
    label: LabelKind
    source: str
    labelled_at: datetime


def parse_labels(body: object, now: datetime) -> list[Label]:
    """Read a decoded JSON list. Raises LabelsInvalid."""
    if not isinstance(body, list) or not 1 <= len(body) <= MAX_LABELS:
        raise LabelsInvalid([f"the body must be a list of 1 to {MAX_LABELS:,} labels"])
    return _read_all(((f"[{i}]", row) for i, row in enumerate(body)), now)


def parse_csv(file: TextIO, now: datetime) -> list[Label]:
    """Read a CSV file whose first line names the columns, in any order. Raises LabelsInvalid."""
    reader = csv.DictReader(file)
    if missing := [name for name in _FIELDS if name not in (reader.fieldnames or ())]:
        raise LabelsInvalid([f"line 1: no column {', '.join(missing)}; it must name {', '.join(_FIELDS)}"])
    return _read_all(_lines(reader), now)


def _lines(reader: "csv.DictReader[str]") -> Iterator[tuple[str, dict[str, Any]]]:
    for row in reader:
        yield f"line {reader.line_num}", {name: row[name] for name in _FIELDS}


def _read_all(rows: Iterable[tuple[str, object]], now: datetime) -> list[Label]:
    labels: list[Label] = []
    faults: list[str] = []
    for place, row in rows:
        found = _faults(row, now)
        faults += [f"{place}{fault}" for fault in found]
        if len(faults) > MAX_FAULTS:
            raise LabelsInvalid([*faults[:MAX_FAULTS], "and there may be more"])
        if not found and isinstance(row, dict):
            labels.append(Label(**{**row, "labelled_at": datetime.fromisoformat(row["labelled_at"])}))
    if faults:
        raise LabelsInvalid(faults)
    return labels


def _faults(row: object, now: datetime) -> list[str]:
    if not isinstance(row, Mapping):
        return [": must be an object"]
    faults = [f".{name}: no such field" for name in sorted(row.keys() - set(_FIELDS))]
    for name, longest in _LONGEST.items():
        value = row.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= longest or "\0" in value:
            faults.append(f".{name}: must be text of 1 to {longest} characters")
    if row.get("label") not in get_args(LabelKind):
        faults.append(f".label: must be {' or '.join(get_args(LabelKind))}")
    if fault := _time_fault(row.get("labelled_at"), now):
        faults.append(f".labelled_at: {fault}")
    return faults


def _time_fault(value: object, now: datetime) -> str | None:
    wanted = "must be an RFC 3339 time with its zone, such as 2026-01-31T08:00:00Z"
    if not isinstance(value, str):
        return wanted
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return wanted
    if at.tzinfo is None:
        return wanted
    return "lies in the future" if at > now + CLOCK_SKEW else None
