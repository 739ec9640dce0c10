"""The audit chain shows what was done to it, even by the table's owner."""

import threading

import psycopg
import pytest

from registry import audit
from registry.audit import Broken, Intact
from runtime.postgres import Connection, connect


def append(connection: Connection, number: int) -> audit.AuditRow:
    return audit.append(
        connection,
        actor="ops_john",
        action="test.counted",
        subject=f"subject-{number}",
        before=None if number == 1 else {"number": number - 1},
        after={"number": number, "float": 0.1, "big": 1e22, "text": "é\u2028", "deep": [None, {"b": 1, "a": True}]},
        reason=None if number % 2 else "even",
    )


@pytest.fixture
def chain(connection: Connection) -> list[audit.AuditRow]:
    """Six committed rows, and the triggers that keep the log append-only off: what a hostile owner would do."""
    rows = [append(connection, number) for number in range(1, 7)]
    connection.execute("ALTER TABLE sira_audit_log DISABLE TRIGGER USER")
    connection.commit()
    return rows


def rewrite(connection: Connection, seq: int) -> None:
    """Give an edited row the hash that its contents now have."""
    connection.execute("UPDATE sira_audit_log SET actor = 'someone' WHERE seq = %s", (seq,))
    (row,) = [row for row in audit.history(connection, limit=100) if row.seq == seq]
    connection.execute("UPDATE sira_audit_log SET sha256 = %s WHERE seq = %s", (audit.row_hash(row), seq))


def test_an_empty_chain_is_intact(connection: Connection) -> None:
    assert audit.verify(connection) == Intact(0, (0, audit.FIRST_PREVIOUS))


def test_an_untouched_chain_is_intact_and_gives_its_head(connection: Connection, chain: list[audit.AuditRow]) -> None:
    assert audit.verify(connection) == Intact(6, (6, chain[-1].sha256))


def test_rows_come_back_as_they_were_appended(connection: Connection, chain: list[audit.AuditRow]) -> None:
    assert audit.history(connection) == chain[::-1]
    assert audit.history(connection, subject="subject-3") == [chain[2]]


@pytest.mark.parametrize("seq", [1, 3, 6])
def test_an_edited_row_is_named(connection: Connection, chain: list[audit.AuditRow], seq: int) -> None:
    for edit in (
        *("actor = 'x'", "action = 'x'", "subject = 'x'", "before = '0'", "after = '{}'", "reason = 'because'"),
        *("at = at + interval '1 us'", "after = NULL", "reason = ''"),
    ):
        with connection.transaction(force_rollback=True):
            connection.execute(f"UPDATE sira_audit_log SET {edit} WHERE seq = %s", (seq,))
            assert audit.verify(connection) == Broken(seq, "edited", f"the contents of row {seq} do not match its hash")


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_row_rewritten_with_its_hash_is_named(connection: Connection, chain: list[audit.AuditRow], seq: int) -> None:
    rewrite(connection, seq)
    detail = f"row {seq} was rewritten with its hash: row {seq + 1} chains to another"
    assert audit.verify(connection) == Broken(seq, "edited", detail)


@pytest.mark.parametrize(
    ("gone", "detail"), [((1,), "row 1 is gone"), ((3,), "row 3 is gone"), ((2, 3, 4), "rows 2 to 4 are gone")]
)
def test_a_removed_row_is_named(
    connection: Connection, chain: list[audit.AuditRow], gone: tuple[int, ...], detail: str
) -> None:
    connection.execute("DELETE FROM sira_audit_log WHERE seq = ANY(%s)", (list(gone),))
    assert audit.verify(connection) == Broken(gone[0], "removed", detail)


def test_rows_whose_places_were_swapped_are_named(connection: Connection, chain: list[audit.AuditRow]) -> None:
    for seq, to in ((2, 99), (5, 2), (99, 5)):
        connection.execute("UPDATE sira_audit_log SET seq = %s WHERE seq = %s", (to, seq))
    assert audit.verify(connection) == Broken(2, "swapped", "row 2 holds what was written as row 5")


def test_rows_whose_contents_were_swapped_are_named(connection: Connection, chain: list[audit.AuditRow]) -> None:
    for row, seq in ((chain[2], 4), (chain[3], 3)):
        connection.execute(
            "UPDATE sira_audit_log SET (at, actor, action, subject, before, after, reason)"
            " = (SELECT %s, %s, %s, %s, %s, %s, %s) WHERE seq = %s",
            (
                *(row.at, row.actor, row.action, row.subject),
                *(psycopg.types.json.Jsonb(row.before), psycopg.types.json.Jsonb(row.after), row.reason, seq),
            ),
        )
    assert audit.verify(connection) == Broken(3, "swapped", "row 3 holds what was written as row 4")


def test_rows_cut_from_the_end_show_only_against_an_anchor(connection: Connection, chain: list[audit.AuditRow]) -> None:
    connection.execute("DELETE FROM sira_audit_log WHERE seq > 4")
    assert isinstance(audit.verify(connection), Intact)
    anchored = audit.verify(connection, anchor=(6, chain[5].sha256))
    assert anchored == Broken(5, "removed", "rows 5 to 6 are gone: the anchor is row 6")


def test_a_chain_rewritten_as_a_whole_shows_only_against_an_anchor(
    connection: Connection, chain: list[audit.AuditRow]
) -> None:
    connection.execute("DELETE FROM sira_audit_log")
    for number in range(1, 7):
        append(connection, number)
    assert isinstance(audit.verify(connection), Intact)
    anchored = audit.verify(connection, anchor=(6, chain[5].sha256))
    assert anchored == Broken(6, "edited", "row 6 is not the anchor: the chain was rewritten up to it")


def test_a_chain_that_grew_since_the_anchor_is_intact(connection: Connection, chain: list[audit.AuditRow]) -> None:
    assert isinstance(audit.verify(connection, anchor=(4, chain[3].sha256)), Intact)


def test_writers_at_once_make_one_chain(connection: Connection, database_url: str) -> None:
    def write(number: int) -> None:
        with connect(database_url, name="tests") as own:
            for _ in range(5):
                append(own, number)
                own.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = audit.verify(connection)
    assert isinstance(found, Intact)
    assert found.rows == 20


def test_the_service_may_append_but_not_edit(connection: Connection) -> None:
    connection.execute("SET ROLE sira_service")
    append(connection, 1)
    connection.commit()
    for change in ("UPDATE sira_audit_log SET actor = 'x'", "DELETE FROM sira_audit_log", "TRUNCATE sira_audit_log"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(change)
        connection.rollback()
        connection.execute("SET ROLE sira_service")
    assert isinstance(audit.verify(connection), Intact)


def test_not_even_the_owner_edits_by_mistake(connection: Connection) -> None:
    append(connection, 1)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute("DELETE FROM sira_audit_log")


def test_a_number_that_json_cannot_hold_is_not_written(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        audit.append(connection, actor="x", action="x", subject="x", before=None, after={"share": float("nan")})
