"""How the benchmark of the console's pages counts statements and names spans."""

from lab.benchmarks.scale.console import STATEMENT, _day_of

LOG = """sira-control LOG:  statement: BEGIN
sira-control LOG:  statement: SELECT 1
\tFROM two_lines
sira-control LOG:  execute <unnamed>: SELECT $1
sira-control DETAIL:  Parameters: $1 = 'sira-control LOG:  statement: SELECT 2'
sira-controller LOG:  statement: SELECT 3
sira-control LOG:  execute _pg3_0: COMMIT
"""


def test_only_the_pages_own_statements_are_counted_and_none_around_a_transaction() -> None:
    assert len(STATEMENT.findall(LOG)) == 2


def test_an_event_is_looked_for_on_its_own_day() -> None:
    assert _day_of("20261130-000000007") == {"from": "2026-11-30T00:00", "to": "2026-12-01T00:00"}
