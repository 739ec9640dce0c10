"""Control groups in Postgres, set by operators. The caller owns the transaction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from psycopg.rows import class_row, dict_row

from monitoring.control_group.rule import ControlDay, ControlGroup, ControlGroupToday, as_set
from registry import audit
from runtime.postgres import Connection
from runtime.queries import load_queries
from runtime.reading import InputInvalid, Violation

QUERIES = load_queries(Path(__file__).with_name("queries.sql"))


class ControlGroupUnavailable(Exception):
    """The database has no table of control groups."""

    def __init__(self) -> None:
        super().__init__(
            "the control group needs migration 012_control_group: run `python -m migrations up`, then try again"
        )


class ControlProductUnknown(Exception):
    def __init__(self, product: str) -> None:
        super().__init__(f"no version of a product {product!r} is registered")


def control_groups_exist(connection: Connection) -> bool:
    """Return whether migration 012 has run."""
    return bool(_one(connection, "control_groups_exist", {}))


def control_groups(connection: Connection) -> tuple[ControlGroupToday, ...]:
    """Return the control group of every product that has one, on or off; none before migration 012."""
    if not control_groups_exist(connection):
        return ()
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(QUERIES["control_groups"]).fetchall()
    found = []
    for row in rows:
        today = ControlDay(*(row.pop(name) for name in ControlDay.__slots__))
        found.append(ControlGroupToday(**row, today=today))
    return tuple(found)


def set_control_group(
    connection: Connection,
    product: str,
    *,
    enabled: bool,
    actor: str,
    reason: str,
    share: float | None = None,
    answer: Literal["review", "allow"] | None = None,
    max_per_day: int | None = None,
    max_amount: float | None = None,
    amount_field: str | None = None,
) -> ControlGroup:
    """Set a product's control group and return it. What is None stays as it is.

    Raises ControlGroupUnavailable, ControlProductUnknown, and InputInvalid for one that is on without a largest amount.
    """
    if not control_groups_exist(connection):
        raise ControlGroupUnavailable
    if not _one(connection, "product_exists", {"product": product}):
        raise ControlProductUnknown(product)
    audit.lock_writes(connection)
    before = _locked(connection, product)
    after = as_set(
        before,
        enabled=enabled,
        share=share,
        answer=answer,
        max_per_day=max_per_day,
        max_amount=max_amount,
        amount_field=amount_field,
    )
    if after.enabled and after.max_amount is None:
        raise InputInvalid([Violation("/max_amount", "is missing: it has no default, because amounts have no unit")])
    connection.execute(QUERIES["store_control_group"], msgspec.to_builtins(after))
    audit.append(
        connection,
        actor=actor,
        action="control_group.set",
        subject=product,
        before=msgspec.to_builtins(before),
        after=msgspec.to_builtins(after),
        reason=reason,
    )
    return after


def _locked(connection: Connection, product: str) -> ControlGroup:
    with connection.cursor(row_factory=class_row(ControlGroup)) as cursor:
        found = cursor.execute(QUERIES["lock_control_group"], {"product": product}).fetchone()
    return found or ControlGroup(product)


def _one(connection: Connection, query: str, values: Mapping[str, Any]) -> Any:
    row = connection.execute(QUERIES[query], values).fetchone()
    assert row is not None
    return row[0]
