"""Results of the comparison as JSON and as a markdown table, with its goals."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.benchmarks.side_by_side import Outcome, Plan

RESULTS = Path(__file__).with_name("results.json")
OURS, OURS_CANARY, OURS_ONE_DISK, LIMIT = "sira", "sira_canary", "sira_one_disk", "uvicorn_empty"
OURS_NO_PROFILE = "sira_no_profile"
MAX_DISTURBED = 0.05  # share of the core; smaller than the differences that are reported


@dataclass(frozen=True)
class Goal:
    what: str
    wanted: float
    got: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted


def goals(outcomes: Sequence[Outcome]) -> list[Goal]:
    """Return the goals that can be checked with the contenders of this run."""
    ok = {one.name: one for one in outcomes if one.failed is None}
    if OURS not in ok:
        return []
    ours = ok[OURS]
    found = [
        Goal("requests/s on one core, everything on", 10_000, ours.per_second),
        Goal("p99 at that rate, ms", 10, ours.p99_ms, at_most=True),
        Goal("largest process, MiB", 300, ours.largest_mib, at_most=True),
    ]
    times = {"bentoml_documented": 10.0, "fastapi_onnxruntime": 3.0, "mlserver": 5.0, LIMIT: 0.4}
    found += [
        Goal(f"times {ok[name].title}", wanted, ours.per_second / ok[name].per_second)
        for name, wanted in times.items()
        if name in ok
    ]
    if OURS_CANARY in ok:
        found.append(
            Goal("canary at 10 %, share of the rate without", 0.9, ok[OURS_CANARY].per_second / ours.per_second)
        )
    if OURS_NO_PROFILE in ok:
        share = ours.per_second / ok[OURS_NO_PROFILE].per_second
        found.append(Goal("with the input profile, share of the rate without", 0.98, share))
    return found


def markdown(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| one core, 32 connections | requests/s | p50 ms | p95 ms | p99 ms | CPU µs/request | peak MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in outcomes:
        if one.failed is not None:
            lines.append(f"| {one.title} | failed: {_one_line(one.failed)} | | | | | |")
            continue
        lines.append(
            f"| {one.title} | {one.per_second:,.0f} | {one.p50_ms:.1f} | {one.p95_ms:.1f} | {one.p99_ms:.1f}"
            f" | {one.cpu_us:,.0f} | {one.total_mib:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def remarks(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what a reader must know before trusting the figures."""
    counted = [one for one in outcomes if one.failed is None]
    return [
        *(
            f"{one.title}: other processes took {one.disturbed:.0%} of its core; measure again on a quiet machine"
            for one in counted
            if one.disturbed > MAX_DISTURBED
        ),
        *(
            f"{one.title}: {one.backlog_seconds:.1f} s of work remained when the load ended"
            for one in counted
            if one.backlog_seconds > 2
        ),
        *(f"{one.title}: {one.remark}" for one in counted if one.remark),
    ]


def section(outcomes: Sequence[Outcome], plan: Plan) -> dict[str, Any]:
    """Return the comparison as it is stored in the results."""
    return {
        "plan": asdict(plan),
        "contenders": [asdict(one) for one in outcomes],
        "goals": [asdict(goal) | {"reached": goal.reached} for goal in goals(outcomes)],
        "remarks": remarks(outcomes),
    }


def merge(path: Path, section: str, content: Mapping[str, object]) -> None:
    """Replace one section of the results; the others stay."""
    path.write_text(json.dumps(kept(path) | {section: content}, indent=1, ensure_ascii=False) + "\n")


def kept(path: Path) -> dict[str, Any]:
    """Return the results by section; empty before the first run."""
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return results


def _one_line(text: str) -> str:
    return " ".join(text.split())[:120].replace("|", "/")
