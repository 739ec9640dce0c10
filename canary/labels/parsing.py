"""Confirmed outcomes of events: labels as services send them and as files hold them, with every fault at once."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TextIO

import msgspec
from msgspec import Meta

from runtime.reading import MAX_VIOLATIONS, InputInvalid, Violation, read

LabelKind = Literal["fraud", "legitimate"]

MAX_LABELS = 10_000
# A label from the future means a wrong clock or a wrong column; clocks may differ by this much.
CLOCK_SKEW = timedelta(minutes=5)

_TIME = "must be an RFC 3339 time with its zone, such as 2026-01-31T08:00:00Z"
_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, extra={"expected": _TIME})]


@dataclass(frozen=True, slots=True)
class Label:
    """`source` names the reporter, such as chargeback or review. `labelled_at` has a zone; the latest label counts."""

    product: str
    event_id: str
    label: LabelKind
    source: str
    labelled_at: datetime


class LabelToAdd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The confirmed outcome of an event. `labelled_at`: RFC 3339 with its zone; the latest label of an event counts."""

    event_id: Annotated[str, Meta(min_length=1, max_length=128)]
    product: Annotated[str, Meta(min_length=1, max_length=64)]
    label: LabelKind
    source: Annotated[str, Meta(min_length=1, max_length=64)]
    labelled_at: _Time

    @staticmethod
    def check(fields: Mapping[str, Any]) -> Iterator[Violation]:
        if "labelled_at" in fields and _parsed(fields["labelled_at"]) is None:
            yield Violation("/labelled_at", _TIME)


LabelsToAdd = Annotated[list[LabelToAdd], Meta(min_length=1, max_length=MAX_LABELS)]

COLUMNS = tuple(field.name for field in msgspec.structs.fields(LabelToAdd))


def parse_times(labels: Sequence[LabelToAdd], now: datetime) -> list[Label]:
    """Parse the times of a body's labels. Raises InputInvalid for those from the future."""
    made = [_with_time(label) for label in labels]
    future = [Violation(f"/{i}/labelled_at", "is in the future") for i, label in enumerate(made) if _future(label, now)]
    if future:
        raise InputInvalid(future)
    return made


def parse_csv(file: TextIO, now: datetime) -> list[Label]:
    """Read a CSV file whose first line names the columns, in any order. Raises InputInvalid."""
    reader = csv.DictReader(file)
    if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
        raise InputInvalid([Violation("line 1", f"no column {', '.join(missing)}; it must name {', '.join(COLUMNS)}")])
    labels: list[Label] = []
    violations: list[Violation] = []
    for row in reader:
        try:
            label = _with_time(read(LabelToAdd, {name: row[name] for name in COLUMNS}))
            faults = [Violation("/labelled_at", "is in the future")] if _future(label, now) else []
            labels.append(label)
        except InputInvalid as invalid:
            faults = invalid.violations
        violations += [Violation(f"line {reader.line_num}, {v.pointer[1:]}", v.detail) for v in faults]
        if len(violations) > MAX_VIOLATIONS:
            break
    if violations:
        raise InputInvalid(violations)
    return labels


def products_unknown_error(products: Iterable[str]) -> InputInvalid:
    """Return the error for labels of products that have no registered version."""
    return InputInvalid(Violation("", f"no version of product {product!r} is registered") for product in products)


def _with_time(label: LabelToAdd) -> Label:
    at = _parsed(label.labelled_at)
    assert at is not None  # LabelToAdd.check
    return Label(label.product, label.event_id, label.label, label.source, at)


def _future(label: Label, now: datetime) -> bool:
    return label.labelled_at > now + CLOCK_SKEW


def _parsed(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
