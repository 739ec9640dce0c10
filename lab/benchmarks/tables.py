"""Figures as markdown, and the marked sections of the documents that contain them."""

import re
from collections.abc import Sequence
from pathlib import Path

from lab.benchmarks.profile.batch import BatchProfile
from lab.benchmarks.profile.request import Profile
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, Row

END = "<!-- /measured -->"


class MarkMissing(Exception):
    def __init__(self, path: Path, name: str) -> None:
        super().__init__(
            f"{path.name} has no section for {name}: add `{_begin(name)}` and `{END}`, each on a line of its own"
        )


def table(rows: Sequence[Row]) -> str:
    """Return a markdown table with the headings of the first row; columns of numbers are aligned to the right."""
    headings = list(rows[0])
    numeric = [all(not isinstance(row[heading], str) or not row[heading] for row in rows) for heading in headings]
    lines = [_line(headings), "|" + "|".join("---:" if right else "---" for right in numeric) + "|"]
    lines += [_line([shown(row[heading]) for heading in headings]) for row in rows]
    return "\n".join(lines) + "\n"


def shown(value: str | float) -> str:
    """Format a number with three significant digits, a whole one with all."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def finding(found: Finding) -> str:
    """Format a finding as a section."""
    parts = [f"### {found.title}", found.conditions, table(found.rows), "\n".join(found.grows), goals(found.goals)]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def profile(found: Profile | BatchProfile) -> str:
    if isinstance(found, BatchProfile):
        return f"{table(found.line)}\n{shown(found.per_second)} events/s.\n"
    shipped = shown(found.shipped_us)
    text = f"{found.batch:.0f} events per run of the model; the whole shipment of a row takes {shipped} µs."
    return "\n".join((table(found.line), table(found.protocols), table(found.log), text)) + "\n"


def goals(found: Sequence[Goal]) -> str:
    lines = [
        f"- {goal.what}: **{shown(float(goal.got))}**, wanted {'<=' if goal.at_most else '>='} {goal.wanted:,g}:"
        f" {'reached' if goal.reached else 'missed'}"
        for goal in found
    ]
    return "\n".join(lines) + "\n" if lines else ""


def fill(path: Path, name: str, text: str) -> None:
    """Write `text` between the marks of `name`. Raises MarkMissing."""
    content = path.read_text()
    pattern = re.compile(re.escape(_begin(name)) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(content):
        raise MarkMissing(path, name)
    path.write_text(pattern.sub(lambda _: f"{_begin(name)}\n{text.strip()}\n{END}", content, count=1))


def _begin(name: str) -> str:
    return f"<!-- measured: {name} -->"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
