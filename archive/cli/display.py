"""Tables for the terminal, at most 80 columns wide for products of up to 16 characters."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from archive.closing import WrittenPart
from archive.postgres.store import ArchivedDay
from archive.verification import FolderCheck


def days_table(days: Sequence[ArchivedDay], behind: Sequence[date]) -> RenderableType:
    table = Table("day", "product", "kind", box=None)
    for name in ("rows", "KiB", "bytes/row", "parts"):
        table.add_column(name, justify="right")
    table.add_column("verified")
    for day in days:
        table.add_row(
            str(day.day),
            day.product,
            day.kind,
            f"{day.rows:,}",
            f"{day.bytes / 1024:,.0f}",
            f"{day.bytes / max(1, day.rows):.0f}",
            str(day.parts),
            f"{day.verified_at:%m-%d %H:%M}" if day.verified_at else Text("no", style="dim"),
        )
    rows, size = sum(day.rows for day in days), sum(day.bytes for day in days)
    footer = Text(f"{rows:,} rows in {size / 2**20:,.1f} MiB", style="dim")
    if not behind:
        return Group(table, footer, Text("every closed day is archived"))
    names = ", ".join(map(str, behind[:5])) + (f" and {len(behind) - 5} more" if len(behind) > 5 else "")
    return Group(table, footer, Text(f"not archived: {names}", style="yellow"))


def written_table(parts: Sequence[WrittenPart]) -> RenderableType:
    if not parts:
        return Text("nothing to do: every closed day is archived")
    table = Table("day", "product", "kind", "part", box=None)
    for name in ("rows", "KiB"):
        table.add_column(name, justify="right")
    for part in parts:
        table.add_row(
            str(part.day), part.product, part.kind, part.part, f"{part.rows:,}", f"{part.bytes / 1024:,.0f}"
        )  # fmt: skip
    return table


def checks_table(checks: Sequence[FolderCheck]) -> RenderableType:
    table = Table("day", "product", "kind", box=None)
    table.add_column("rows", justify="right")
    table.add_column("result")
    faults = []
    for check in checks:
        result = Text("wrong", style="bold red") if check.faults else Text("verified", style="green")
        table.add_row(str(check.day), check.product, check.kind, f"{check.rows:,}", result)
        faults += [Text(f"{check.day} {check.product} {check.kind}: {fault}") for fault in check.faults]
    return Group(table, *faults)


def prediction_card(columns: Mapping[str, Any]) -> RenderableType:
    card = Table.grid(padding=(0, 2))
    for name, value in columns.items():
        card.add_row(Text(name, style="dim"), "" if value is None else str(value))
    return card
