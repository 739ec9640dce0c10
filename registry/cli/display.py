"""Tables and cards for the terminal."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from registry.audit import AuditRow
from registry.importance import VersionImportance
from registry.inspection.reference_check import Differences
from registry.model_version import ModelVersion, Status
from registry.reason_codes import ReasonCode
from registry.recheck import VersionCheck
from registry.signature import Field
from registry.store import VersionPage
from runtime.command import plain_table, utc_text

_LAYOUTS = {
    "columns": "one input per field",
    "tensor": "one tensor",
    "mixed": "tensors beside inputs of one field",
}
_STYLES = {
    Status.PRODUCTION: "bold green",
    Status.CANARY: "yellow",
    Status.ROLLED_BACK: "red",
    Status.RETIRED: "dim",
    Status.ARCHIVED: "dim",
}
MAX_IMPORTANT = 20
BAR_WIDTH = 20
_RESULT_STYLES = {"passed": "green", "differs": "bold red", "failed": "bold red", "no reference": "yellow"}


def versions_table(page: VersionPage, *, wide: bool) -> RenderableType:
    """Lay out one row per version; its id only where there is room for it."""
    headings = ("product", "name", "version", "status", "review", "block", "registered")
    table = plain_table(*headings, *(("model_id",) if wide else ()))
    for version in page.versions:
        table.add_row(
            version.product,
            version.name,
            version.version,
            _status(version.status),
            f"{version.thresholds.review:g}",
            f"{version.thresholds.block:g}",
            utc_text(version.created_at),
            *((version.model_id,) if wide else ()),
        )
    footer = f"{len(page.versions)} of {page.total}"
    if page.next_cursor:
        footer += f"; the next page: --cursor {page.next_cursor}"
    return Group(table, Text(footer, style="dim"))


def version_card(version: ModelVersion, importance: VersionImportance, history: Iterable[AuditRow]) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    shown: dict[str, str | Text] = {
        "model_id": version.model_id,
        "status": _status(version.status),
        "registered": f"{utc_text(version.created_at)} by {version.created_by}",
        "artifact": f"{version.storage_s3_key} ({version.size_bytes:,} bytes)",
        "sha256": version.sha256,
        "thresholds": f"review from {version.thresholds.review:g}, block from {version.thresholds.block:g}",
        "takes": f"{len(version.signature.fields)} fields as {_LAYOUTS[version.signature.layout]}",
        "answers": f"{version.signature.output_name} ({version.signature.output_layout})",
        "reference": _reference(version),
        **{name: _fact(value) for name, value in version.metadata.items() if name != "reasons"},
        **({"reason codes": "\n".join(map(_code, codes))} if (codes := version.reason_codes) else {}),
    }
    for name, value in shown.items():
        facts.add_row(Text(name, style="dim"), value)
    title = Text(f"{version.product}/{version.name}/{version.version}", style="bold")
    return Group(
        *(title, facts, "", _fields_table(version.signature.fields), ""),
        *(_importance(importance), "", history_table(history, of_one=True)),
    )


def _importance(importance: VersionImportance) -> RenderableType:
    """Lay out the fields by their mean absolute impact, the largest first."""
    known = [one for one in (importance.traffic, importance.background) if one is not None]
    if not known:
        return Text("which fields matter is not known yet: the controller computes it", style="dim")
    by_field = [{field.field: field.impact for field in one.fields} for one in known]
    largest = max((field.impact for field in known[0].fields), default=0.0) or 1.0
    table = plain_table("field", "impact", *(one.events for one in known))
    for field in known[0].fields[:MAX_IMPORTANT]:
        bar = "█" * round(BAR_WIDTH * field.impact / largest)
        table.add_row(field.field, Text(bar, style="cyan"), *(f"{of.get(field.field, 0.0):.3g}" for of in by_field))
    unit = known[0].scale.replace("_", " ")
    rows = ", ".join(f"{one.rows:,} events of the {one.events}" for one in known)
    left_out = max(0, len(known[0].fields) - MAX_IMPORTANT)
    footer = f"mean absolute impact in {unit}: {rows}" + (f"; {left_out} smaller fields" if left_out else "")
    return Group(table, Text(footer, style="dim"))


def _code(code: ReasonCode) -> str:
    limits = (("from", code.at_least), ("below", code.below))
    conditions = (code.direction or "", *(f"{word} {limit:g}" for word, limit in limits if limit is not None))
    return f"{code.code}: {code.sentence} ({' '.join(filter(None, (code.field, *conditions)))})"


def _fact(value: object) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def history_table(rows: Iterable[AuditRow], *, of_one: bool = False) -> Table:
    """Lay out one row per change; `of_one`: all are of one subject, which is not repeated."""
    subject = () if of_one else ("subject",)
    table = plain_table("seq", "at", "actor", "action", *subject, "change", "reason")
    for row in rows:
        change = f"{_state(row.before)} -> {_state(row.after)}"
        table.add_row(
            str(row.seq),
            utc_text(row.at),
            row.actor,
            row.action,
            *(() if of_one else (row.subject,)),
            change,
            row.reason or "",
        )
    return table


def _fields_table(fields: Iterable[Field]) -> Table:
    table = plain_table("field", "model input", "type", "required", "null", "when absent")
    for field in fields:
        absent = "" if field.required else repr(field.missing)
        required, null = ("yes" if answer else "no" for answer in (field.required, field.nullable))
        table.add_row(field.name, field.input or "", field.kind, required, null, absent)
    return table


def _reference(version: ModelVersion) -> Text:
    reference = version.reference
    if reference is None:
        return Text("none: nothing shows that it scores as its trainer did", style="yellow")
    return Text(
        f"{reference.rows} rows agreed within {reference.tolerance:g}, "
        f"the largest difference {reference.max_difference:.2g}"
    )


def _state(value: object) -> str:
    if value is None:
        return "none"
    return str(value["status"]) if isinstance(value, dict) and "status" in value else "..."


def _status(status: Status) -> Text:
    return Text(status, style=_STYLES.get(status, ""))


def checks_table(checks: list[VersionCheck]) -> RenderableType:
    table = plain_table("version", "status", "result", "rows", "largest difference")
    parts: list[RenderableType] = [table]
    for check in checks:
        largest = "" if check.max_difference is None else f"{check.max_difference:.2g}"
        label = f"{check.product}/{check.name}/{check.version}"
        result = Text(check.result, style=_RESULT_STYLES[check.result])
        table.add_row(label, check.status, result, str(check.rows or ""), largest)
        if check.detail:
            parts.append(Text(f"\n{label}: {check.detail}"))
        if check.differences:
            parts += [Text(f"\n{label}", style="bold"), differences_table(check.differences)]
    return Group(*parts)


def differences_table(differences: Differences) -> RenderableType:
    """Lay out the differences from the trainer's scores: the five worst rows, and the usual cause."""
    table = plain_table("row", "difference", "blank fields", "zero fields")
    for row in differences.worst:
        off = "no probability" if row.difference is None else f"{row.difference:.3g}"
        table.add_row(str(row.row), off, _names(row.blank), _names(row.zero))
    return Group(Text(str(differences)), Text(""), table)


def _names(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
