"""The table of outcomes, on a terminal and in docs/faults.md."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from lab.faults.scenario import Outcome

# The last outcome of each scenario that was run with --docs; scenarios may be run on different days.
RESULTS = Path(__file__).with_name("results.json")
DOCS = Path(__file__).parents[2] / "docs" / "faults.md"
_BEGIN, _END = "<!-- table: make faults -->", "<!-- end of table -->"
_COUNTS = ("sent", "answered", "refused", "broken", "lost", "duplicated", "wrong", "evidence", "canary errors")


def table(outcomes: Sequence[Outcome]) -> Table:
    """Lay out one row per outcome, for a terminal."""
    drawn = Table(title="faults", caption="evidence: groups that differ from the sum over the predictions")
    drawn.add_column("fault", overflow="fold")
    drawn.add_column("how long")
    for name in _COUNTS:
        drawn.add_column(name, justify="right")
    drawn.add_column("", overflow="fold")
    for outcome in outcomes:
        style = "dim" if outcome.unavailable else None if outcome.passed else "red"
        drawn.add_row(outcome.fault, outcome.extent, *_counts(outcome), _remark(outcome), style=style)
    return drawn


def markdown(outcomes: Sequence[Outcome]) -> str:
    lines = [
        f"| fault | how long | {' | '.join(_COUNTS)} | |",
        f"|---|---|{'---:|' * len(_COUNTS)}---|",
    ]
    lines += [f"| {one.fault} | {one.extent} | {' | '.join(_counts(one))} | {_remark(one)} |" for one in outcomes]
    return "\n".join(lines) + "\n"


def kept(path: Path = RESULTS) -> dict[str, Outcome]:
    """Return the kept outcomes by the name of their scenario."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Outcome]) if path.exists() else {}


def keep(outcomes: Iterable[Outcome], path: Path = RESULTS) -> None:
    """Replace the kept outcomes of these scenarios; those of others stay."""
    results = kept(path) | {outcome.name: outcome for outcome in outcomes}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def write_docs(names: Iterable[str], path: Path = DOCS, results: Path = RESULTS) -> None:
    """Write the kept outcomes, in this order, between the two marks of the page."""
    outcomes = kept(results)
    table = markdown([outcomes[name] for name in names if name in outcomes])
    before, _, rest = path.read_text().partition(_BEGIN)
    path.write_text(f"{before}{_BEGIN}\n\n{table}\n{_END}{rest.partition(_END)[2]}")


def _counts(outcome: Outcome) -> list[str]:
    if outcome.unavailable:
        return ["–"] * len(_COUNTS)
    found = outcome.reconciliation
    counts = (
        *(outcome.sent, found.answered, outcome.refused, outcome.broken),
        *(found.lost, found.duplicated, found.wrong, outcome.evidence_differences, found.canary_errors),
    )
    return [f"{count:,}" for count in counts]


def _remark(outcome: Outcome) -> str:
    if outcome.unavailable:
        return f"not run: {outcome.unavailable}"
    unmet = [f"NOT MET: {expectation}" for expectation in outcome.unmet]
    return "; ".join([*unmet, *outcome.notes])
