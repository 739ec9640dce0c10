"""Traffic that is only counted is reconciled like that of callers who keep their answers."""

from lab.faults.log_store import EventCount
from lab.faults.reconciliation import Reconciliation, add_counted

KEPT = Reconciliation(answered=10, lost=1, duplicated=2, wrong=3)


def test_as_many_rows_as_answers_balance() -> None:
    found = add_counted(Reconciliation(answered=10), 100, EventCount(rows=100, ids=100))
    assert (found, found.balanced) == (Reconciliation(answered=110), True)


def test_a_missing_row_is_lost_and_one_too_many_is_a_duplicate() -> None:
    found = add_counted(KEPT, 100, EventCount(rows=101, ids=99))
    assert found == Reconciliation(answered=110, lost=2, duplicated=4, wrong=3)


def test_rows_without_an_answer_are_neither_lost_nor_duplicates() -> None:
    found = add_counted(KEPT, 100, EventCount(rows=101, ids=101))
    assert found == Reconciliation(answered=110, lost=1, duplicated=2, wrong=3)
