"""Traffic that is only counted stands in the account like that of callers who keep their answers."""

from lab.faults.account import Account, add_counted
from lab.faults.log_store import Counted

KEPT = Account(answered=10, lost=1, doubled=2, wrong=3)


def test_as_many_rows_as_answers_balance() -> None:
    account = add_counted(Account(answered=10), 100, Counted(rows=100, ids=100))
    assert (account, account.balanced) == (Account(answered=110), True)


def test_a_row_too_few_is_lost_and_one_too_many_doubled() -> None:
    assert add_counted(KEPT, 100, Counted(rows=101, ids=99)) == Account(answered=110, lost=2, doubled=4, wrong=3)


def test_rows_whose_answer_nobody_received_are_neither_lost_nor_doubled() -> None:
    assert add_counted(KEPT, 100, Counted(rows=101, ids=101)) == Account(answered=110, lost=1, doubled=2, wrong=3)
