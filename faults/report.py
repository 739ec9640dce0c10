"""The table: on a terminal, and in docs/faults.md."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from faults.trial import Outcome

DOCS = Path(__file__).parent.parent / "docs" / "faults.md"
_BEGIN, _END = "<!-- table: make faults -->", "<!-- end of table -->"
_COUNTS = ("sent", "answered", "refused", "broken", "lost", "doubled", "wrong", "uneven", "canary errors")


def table(outcomes: Sequence[Outcome]) -> Table:
    """`broken`: connections that ended before an answer; those requests were sent again."""
    drawn = Table(title="faults", caption="uneven: groups of evidence that differ from a count of the predictions")
    drawn.add_column("fault", overflow="fold")
    for name in _COUNTS:
        drawn.add_column(name, justify="right")
    drawn.add_column("", overflow="fold")
    for outcome in outcomes:
        style = "dim" if outcome.unavailable else None if outcome.passed else "red"
        drawn.add_row(outcome.fault, *_counts(outcome), _remark(outcome), style=style)
    return drawn


def markdown(outcomes: Sequence[Outcome]) -> str:
    lines = [
        f"| fault | {' | '.join(_COUNTS)} | |",
        f"|---|{'---:|' * len(_COUNTS)}---|",
    ]
    lines += [f"| {one.fault} | {' | '.join(_counts(one))} | {_remark(one)} |" for one in outcomes]
    return "\n".join(lines) + "\n"


def write_docs(outcomes: Sequence[Outcome], path: Path = DOCS) -> None:
    """Replace what stands between the two marks."""
    before, _, rest = path.read_text().partition(_BEGIN)
    path.write_text(f"{before}{_BEGIN}\n\n{markdown(outcomes)}\n{_END}{rest.partition(_END)[2]}")


def _counts(outcome: Outcome) -> list[str]:
    if outcome.unavailable:
        return ["–"] * len(_COUNTS)
    account = outcome.account
    counts = (
        *(outcome.sent, account.answered, outcome.refused, outcome.broken),
        *(account.lost, account.doubled, account.wrong, outcome.uneven, account.canary_errors),
    )
    return [f"{count:,}" for count in counts]


def _remark(outcome: Outcome) -> str:
    if outcome.unavailable:
        return f"not run: {outcome.unavailable}"
    unmet = [f"NOT MET: {what}" for what in outcome.unmet]
    return "; ".join([*unmet, *outcome.notes])
