"""The handbook's query for the sender of a faulty field, on events of two senders."""

import re
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg
import pytest

from runtime.postgres import connect
from tests.support.log_rows import Prediction, prediction, ship_rows

HANDBOOK = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
METHODS = ("card", "wallet")


class Group(NamedTuple):
    field: str
    value: str
    events: int
    faulty: int
    share: Decimal
    since: datetime | None


def query() -> str:
    (found,) = re.findall(r"```sql\n(SELECT part\.field.*?);\n```", HANDBOOK, re.DOTALL)
    return str(found)


def event(sender: str, number: int, **fields: object) -> Prediction:
    payload = {"amount": number + 0.5, "payment_method": METHODS[number % 2], "currency": "EUR", **fields}
    text = msgspec.json.encode(payload, order="sorted").decode()
    return prediction(f"{sender}-{number}", product="fraud_score", payload=text)


def groups(database_url: str, faulty: str) -> list[Group]:
    """Run the query, with another condition in place of the handbook's."""
    text = query().replace("payload->>'currency' IS NULL", faulty)
    with connect(database_url, name="tests") as connection:
        return [Group(*row) for row in connection.execute(psycopg.sql.SQL(text))]


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        ("payload->>'currency' IS NULL", {"currency": None}),
        ("payload->>'currency' IS NULL", {"currency": None, "app": "7.1"}),
        ("payload->>'currency' = 'BRL'", {"currency": "BRL"}),
        ("(payload->>'amount')::float8 > 10000", {"amount": 12_500.0}),
    ],
)
def test_the_sender_of_a_faulty_field_is_the_group_that_is_faulty_as_a_whole(
    database_url: str, condition: str, fault: dict[str, object]
) -> None:
    faulty = [event("shop", n, **fault) for n in range(150)]
    ship_rows(database_url, [event("kiosk", n) for n in range(400)] + faulty)
    found = groups(database_url, condition)
    whole = {(group.field, group.value): group for group in found if group.share == 1}
    assert ("(event id)", "shop") in whole
    assert whole["(event id)", "shop"].faulty == 150
    since = whole["(event id)", "shop"].since
    assert since is not None
    assert since.timestamp() == pytest.approx(min(row.created_at for row in faulty), abs=0.001)
    assert ("app" in fault) == (("app", "7.1") in whole)
    assert {float(group.share) for group in found if group.field == "payment_method"} == {0.273}


def test_no_group_is_named_where_no_event_is_faulty(database_url: str) -> None:
    ship_rows(database_url, [event("kiosk", n) for n in range(400)])
    assert groups(database_url, "payload->>'currency' IS NULL") == []
