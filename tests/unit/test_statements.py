"""SQL statements are described, and each room writes its own tables only."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Access:
    """What the statements of a room write and call, and what they read of other rooms' tables."""

    writes: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)


ACCESS = {
    "backtest/jobs": Access(writes={"sira_backtests"}),
    "backtest/sources": Access(
        reads={"sira_prediction_hours", "sira_predictions", "sira_labels", "siramodel_registry"}
    ),
    "archive/postgres": Access(
        writes={"sira_archive_days", "sira_log_losses", "sira_shipped_hours"},
        reads={
            "siramodel_registry",
            "sira_predictions",
            "sira_paired_predictions",
            "sira_labels",
            "sira_prediction_reasons",
            "sira_prediction_hours",
        },
        calls={"sira_drop_archived_day"},
    ),
    "canary/controller": Access(
        writes={"sira_controller_lease", "sira_canary_verdicts", "sira_production_errors"},
        reads={
            "siramodel_registry",
            "sira_canary_config",
            "sira_canary_phases",
            "sira_canary_evidence",
            "sira_canary_paired_evidence",
            "sira_canary_label_evidence",
            "sira_canary_fuse_trips",
        },
        calls={"sira_make_partitions", "sira_drop_partitions", "sira_drop_evidence"},
    ),
    "canary/labels": Access(
        writes={"sira_labels", "sira_label_progress", "sira_canary_label_evidence"},
        reads={"siramodel_registry", "sira_canary_config", "sira_paired_predictions", "sira_predictions"},
    ),
    "canary/report": Access(
        reads={
            "sira_canary_evidence",
            "sira_canary_paired_evidence",
            "sira_canary_rollback_log",
            "sira_canary_verdicts",
            "sira_paired_predictions",
            "sira_predictions",
        },
    ),
    "canary/rollout": Access(
        writes={"sira_canary_config", "sira_canary_phases", "sira_canary_rollback_log", "sira_canary_evidence"},
        reads={"siramodel_registry", "sira_backtests", "sira_canary_verdicts", "sira_production_errors"},
        calls={"sira_histogram_sum"},
    ),
    "console/audit": Access(reads={"sira_audit_log"}),
    "console/decisions": Access(
        reads={"siramodel_registry", "sira_labels", "sira_paired_predictions", "sira_predictions"}
    ),
    "console/overview": Access(
        reads={
            "siramodel_registry",
            "sira_canary_config",
            "sira_canary_evidence",
            "sira_canary_verdicts",
            "sira_controller_lease",
            "sira_prediction_hours",
            "sira_production_errors",
        },
    ),
    "console/rollouts": Access(
        reads={
            "siramodel_registry",
            "sira_canary_config",
            "sira_canary_evidence",
            "sira_canary_rollback_log",
            "sira_canary_verdicts",
            "sira_production_errors",
        },
    ),
    "console/sign_in": Access(writes={"sira_console_links"}),
    "migrations": Access(writes={"sira_migrations"}),
    "monitoring": Access(
        writes={
            "sira_production_decisions",
            "sira_production_guard",
            "sira_input_baselines",
            "sira_input_profiles",
            "sira_input_profile_position",
        },
        reads={"sira_prediction_hours", "sira_predictions"},
    ),
    "monitoring/breaker": Access(
        writes={"sira_breaker"}, reads={"sira_production_decisions", "sira_predictions", "siramodel_registry"}
    ),
    "monitoring/cohorts": Access(
        writes={
            "sira_cohort_sums",
            "sira_cohort_label_ages",
            "sira_cohort_hours",
            "sira_cohort_labels",
            "sira_cohort_progress",
        },
        reads={"siramodel_registry", "sira_labels", "sira_prediction_hours"},
        calls={"sira_event_label", "sira_label_age"},
    ),
    "monitoring/control_group": Access(
        writes={"sira_control_group"}, reads={"sira_control_days", "siramodel_registry"}
    ),
    "registry": Access(
        writes={"siramodel_registry", "sira_audit_log"}, reads={"sira_canary_config", "sira_model_importance"}
    ),
    "scoring/log": Access(
        writes={
            "sira_predictions",
            "sira_paired_predictions",
            "sira_prediction_hours",
            "sira_production_errors",
            "sira_canary_evidence",
            "sira_canary_paired_evidence",
            "sira_canary_fuse_trips",
            "sira_prediction_reasons",
            "sira_shipped_hours",
            "sira_control_days",
        },
        reads={"sira_canary_config"},
        calls={"sira_histogram_add", "sira_latency_bin"},
    ),
    "scoring/reasons": Access(
        writes={"sira_reasons_backgrounds", "sira_model_backgrounds", "sira_model_importance"},
        reads={"siramodel_registry", "sira_predictions"},
        calls={"sira_make_reasons_partitions", "sira_drop_reasons_partitions"},
    ),
    "scoring/models": Access(
        writes={"sira_control_slots"}, reads={"sira_canary_config", "sira_breaker", "sira_control_group"}
    ),
}
# The shipper counts evidence together with the rows, which makes it exactly once (ADR 13). A rollout also starts with
# production's history as evidence, and the controller deletes production's old counts.
# Workers report what they shipped, and the archive deletes old reports.
SHARED = {"sira_canary_evidence", "sira_production_errors", "sira_shipped_hours"}

FILES = sorted(file for file in ROOT.glob("[!.]*/**/queries.sql") if file.relative_to(ROOT).parts[0] != "lab")
_NAME = r"(?<![\w.])(sira(?:_|model_)\w+)"


def room(file: Path) -> str:
    return str(file.parent.relative_to(ROOT))


def blocks(file: Path) -> list[str]:
    return re.split(r"(?m)^(?=-- name: )", file.read_text())[1:]


def accessed(file: Path) -> Access:
    """Return what the statements of a file write, read besides, and call."""
    statements = re.sub(r"--[^\n]*|'[^']*'", " ", file.read_text())
    writes = set(re.findall(rf"(?:INSERT INTO|UPDATE|DELETE FROM)\s+{_NAME}", statements))
    calls = set(re.findall(rf"(?<!INTO ){_NAME}\s*\(", statements)) - writes
    return Access(writes, set(re.findall(_NAME, statements)) - writes - calls, calls)


@pytest.mark.parametrize(
    "block", [pytest.param(block, id=f"{room(file)}-{block.split()[2]}") for file in FILES for block in blocks(file)]
)
def test_a_statement_has_a_description(block: str) -> None:
    assert re.match(r"-- name: \w+\n-- \S.{8,}", block)


@pytest.mark.parametrize("file", FILES, ids=room)
def test_a_room_uses_the_tables_that_are_listed_for_it(file: Path) -> None:
    assert accessed(file) == ACCESS[room(file)]


def test_a_table_is_written_by_one_room() -> None:
    writers = Counter(table for access in ACCESS.values() for table in access.writes)
    assert {table for table, rooms in writers.items() if rooms > 1} == SHARED


def test_every_room_that_is_listed_has_statements() -> None:
    assert set(ACCESS) == {room(file) for file in FILES}
