"""The page of the audit log over a real chain."""

from html import unescape
from typing import Any
from urllib.parse import quote

import pytest

from registry import audit
from runtime.auth import Role
from runtime.postgres import Connection
from tests.support.counting import counted
from tests.support.rollouts import start_rollout

# Stated in docs/console.md.
MAX_STATEMENTS = 3


def text(answered: Any) -> str:
    return " ".join(unescape(answered.body.decode()).split())


def head(connection: Connection) -> str:
    (row,) = audit.history(connection, limit=1)
    return f"{row.seq}:{row.sha256}"


def test_an_empty_log_says_so(desk: Any) -> None:
    assert "The log is empty." in text(desk.get("/console/audit"))


def test_the_log_names_who_changed_what_and_filters(desk: Any, connection: Connection) -> None:
    rollout = start_rollout(connection)
    page = text(desk.get("/console/audit", Role.viewer))
    assert head(connection) in page
    assert "canary.started" in page
    assert "model.registered" not in text(desk.get("/console/audit?action=canary."))
    assert "model.registered" not in text(desk.get(f"/console/audit?subject={rollout.rollout_id}"))
    assert "No row matches" in text(desk.get("/console/audit?actor=nobody"))
    assert "canary.started" in text(desk.get("/console/audit?actor=ana"))


@pytest.mark.parametrize("below", ["x", "-1", "9" * 30, "١"])
def test_a_wrong_row_number_is_refused(desk: Any, below: str) -> None:
    assert desk.get(f"/console/audit?below={quote(below)}").status == 422


def test_a_whole_chain_is_intact_with_and_without_an_anchor(desk: Any, connection: Connection) -> None:
    start_rollout(connection)
    anchor = head(connection)
    assert "Intact: 5 rows were verified." in text(desk.post("/console/audit", {}, Role.viewer))
    assert "and the anchor is one of them" in text(desk.post("/console/audit", {"anchor": f" {anchor} "}))
    assert desk.post("/console/audit", {"anchor": "5"}).status == 422


def test_an_edited_row_and_a_missing_end_are_named(desk: Any, connection: Connection) -> None:
    start_rollout(connection)
    anchor = head(connection)
    connection.execute("ALTER TABLE sira_audit_log DISABLE TRIGGER ALL")
    connection.execute("DELETE FROM sira_audit_log WHERE seq = 5")
    assert "Intact: 4 rows" in text(desk.post("/console/audit", {}))
    assert "Broken at row 5 (removed)" in text(desk.post("/console/audit", {"anchor": anchor}))
    connection.execute("UPDATE sira_audit_log SET actor = 'mallory' WHERE seq = 2")
    assert "Broken at row 2 (edited)" in text(desk.post("/console/audit", {}))


def test_the_page_costs_a_fixed_number_of_statements(desk: Any, connection: Connection) -> None:
    for number in range(40):
        start_rollout(connection, f"p{number}")
    with counted(desk.resources) as statements:
        page = text(desk.get("/console/audit"))
    assert len(statements) <= MAX_STATEMENTS
    assert "Older rows" in page
    assert text(desk.get("/console/audit?below=101")).count("<tr>") == 101
