"""SQL statements are described, and each room writes its own tables only."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path for room in ("canary", "migrations", "registry", "scoring") for path in (ROOT / room).rglob("queries.sql")
)
BLOCKS = [
    pytest.param(file.relative_to(ROOT).parts[0], block, id=f"{file.relative_to(ROOT).parent}-{block.split()[2]}")
    for file in FILES
    for block in re.split(r"(?m)^(?=-- name: )", file.read_text())[1:]
]
# The rooms that write a table. The log's shipper also counts evidence: that is what makes it exactly once (ADR 13).
WRITERS = {
    "siramodel_registry": {"registry"},
    "sira_audit_log": {"registry"},
    "sira_migrations": {"migrations"},
    "sira_predictions": {"scoring"},
    "sira_paired_predictions": {"scoring"},
    "sira_prediction_hours": {"scoring"},
    "sira_canary_evidence": {"scoring", "canary"},
    "sira_canary_paired_evidence": {"scoring"},
    "sira_production_errors": {"scoring", "canary"},
    "sira_canary_fuse_trips": {"scoring"},
    "sira_canary_config": {"canary"},
    "sira_canary_phases": {"canary"},
    "sira_canary_verdicts": {"canary"},
    "sira_canary_rollback_log": {"canary"},
    "sira_canary_label_evidence": {"canary"},
    "sira_controller_lease": {"canary"},
    "sira_labels": {"canary"},
    "sira_label_progress": {"canary"},
}
# What a room reads of another's tables.
READS = {
    "registry": {"sira_canary_config"},
    "scoring": {"sira_canary_config"},
    "canary": {
        *("siramodel_registry", "sira_predictions", "sira_paired_predictions", "sira_canary_paired_evidence"),
        "sira_canary_fuse_trips",
    },
    "migrations": set(),
}
_WRITE = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+(sira\w+)")
_TABLE = re.compile(r"\b(sira_\w+|siramodel_registry)\b(?!\s*\()")


@pytest.mark.parametrize(("room", "block"), BLOCKS)
def test_a_statement_has_a_description(room: str, block: str) -> None:
    assert re.match(r"-- name: \w+\n-- \S.{8,}", block)


@pytest.mark.parametrize(("room", "block"), BLOCKS)
def test_a_room_writes_its_own_tables(room: str, block: str) -> None:
    assert all(room in WRITERS[table] for table in _WRITE.findall(block))


@pytest.mark.parametrize(("room", "block"), BLOCKS)
def test_a_room_reads_what_is_listed(room: str, block: str) -> None:
    statement = "\n".join(line for line in block.splitlines() if not line.lstrip().startswith("--"))
    statement = re.sub(r"'[^']*'", "", statement)
    foreign = {table for table in _TABLE.findall(statement) if table in WRITERS and room not in WRITERS[table]}
    assert foreign <= READS[room]
