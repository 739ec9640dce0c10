"""The control group as operators set it, on a real Postgres."""

import pytest

from monitoring.control_group.rule import ControlDay, ControlGroup
from monitoring.control_group.store import (
    ControlGroupUnavailable,
    ControlProductUnknown,
    control_groups,
    set_control_group,
)
from registry import audit
from runtime.postgres import Connection
from runtime.reading import InputInvalid
from tests.support.rollouts import add_version


@pytest.fixture
def product(connection: Connection) -> str:
    return add_version(connection, "cards", "1").product


def switch(connection: Connection, product: str, *, enabled: bool = True, **settings: object) -> ControlGroup:
    with connection.transaction():
        return set_control_group(
            connection, product, enabled=enabled, actor="amina", reason="to measure", **settings  # type: ignore[arg-type]
        )  # fmt: skip


def test_a_product_has_none_until_somebody_sets_it(connection: Connection, product: str) -> None:
    assert control_groups(connection) == ()
    assert switch(connection, product, max_amount=50.0) == ControlGroup("cards", enabled=True, max_amount=50.0)
    (found,) = control_groups(connection)
    assert (found.enabled, found.max_amount, found.today) == (True, 50.0, ControlDay(0, 0, 0))


def test_it_cannot_be_on_without_a_largest_amount(connection: Connection, product: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        switch(connection, product)
    assert refused.value.violations[0].pointer == "/max_amount"
    assert control_groups(connection) == ()
    switch(connection, product, enabled=False)


def test_what_is_left_out_stays_as_it_is_and_so_does_the_seed(connection: Connection, product: str) -> None:
    def seed() -> bytes:
        row = connection.execute("SELECT seed FROM sira_control_group").fetchone()
        assert row
        return bytes(row[0])

    switch(connection, product, max_amount=50.0, share=0.01, answer="allow")
    before = seed()
    assert switch(connection, product, enabled=False) == ControlGroup(
        "cards", enabled=False, share=0.01, answer="allow", max_amount=50.0
    )
    assert switch(connection, product, max_per_day=3).max_per_day == 3
    assert seed() == before


def test_each_change_is_audited_without_the_seed(connection: Connection, product: str) -> None:
    switch(connection, product, max_amount=50.0)
    switch(connection, product, enabled=False)
    last, first = audit.history(connection, subject="cards", limit=2)
    assert (last.action, last.actor, last.reason) == ("control_group.set", "amina", "to measure")
    assert first.after is not None
    assert first.after == {
        "product": "cards",
        "enabled": True,
        "share": 0.005,
        "answer": "review",
        "max_per_day": 20,
        "max_amount": 50.0,
        "amount_field": "amount",
    }
    assert last.before == first.after


def test_a_change_wakes_the_workers(connection: Connection, product: str) -> None:
    connection.execute("LISTEN sira_serving")
    switch(connection, product, max_amount=50.0)
    assert [note.channel for note in connection.notifies(timeout=5, stop_after=1)] == ["sira_serving"]


def test_it_needs_a_version_and_the_migration(connection: Connection, product: str) -> None:
    with pytest.raises(ControlProductUnknown, match="'other' is registered"):
        switch(connection, "other", max_amount=1.0)
    connection.execute("DROP TABLE sira_control_group")
    assert control_groups(connection) == ()
    with pytest.raises(ControlGroupUnavailable, match="012_control_group"):
        switch(connection, product, max_amount=1.0)
