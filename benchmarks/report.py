"""Results as JSON, as a markdown table and as a plot: what the README shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.side_by_side import Outcome, Plan

RESULTS = Path(__file__).with_name("results.json")
PLOT = Path(__file__).parent.parent / "docs" / "bench.svg"
OURS, OURS_CANARY, LIMIT = "sira", "sira_canary", "uvicorn_empty"
DISTURBED = 0.05


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
    """Those of the goals that this run's contenders let us judge."""
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
        found.append(Goal("canary at 10 %, of the rate without", 0.9, ok[OURS_CANARY].per_second / ours.per_second))
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
    """What a reader must know before he trusts the figures."""
    return [
        f"{one.title}: other processes took {one.disturbed:.0%} of its core; measure again on a quiet machine"
        for one in outcomes
        if one.failed is None and one.disturbed > DISTURBED
    ] + [
        f"{one.title}: {one.backlog_seconds:.1f} s of work were left when the load ended"
        for one in outcomes
        if one.failed is None and one.backlog_seconds > 2
    ]


def write(path: Path, outcomes: Sequence[Outcome], plan: Plan, machine: Machine, when: str, command: str) -> None:
    content = {
        "date": when,
        "command": command,
        "machine": asdict(machine),
        "plan": asdict(plan),
        "contenders": [asdict(one) for one in outcomes],
        "goals": [asdict(goal) | {"reached": goal.reached} for goal in goals(outcomes)],
        "remarks": remarks(outcomes),
    }
    merge(path, {"side_by_side": content})


def merge(path: Path, sections: Mapping[str, object]) -> None:
    """Replaces the given sections of the results and leaves the others."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(kept | dict(sections), indent=1, ensure_ascii=False) + "\n")


def plot(path: Path, outcomes: Sequence[Outcome], caption: str) -> None:
    """Two bar charts side by side, requests/s and p99, as an SVG that reads on a light and on a dark page."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "sira", "font.size": 10}
    from matplotlib import pyplot

    shown = sorted((one for one in outcomes if one.failed is None), key=lambda one: one.per_second)
    names = [one.title.replace("`", "") for one in shown]
    colors = [{OURS: "#1f77b4", OURS_CANARY: "#6baed6", LIMIT: "#cccccc"}.get(one.name, "#8c8c8c") for one in shown]
    figure, (rate, tail) = pyplot.subplots(1, 2, figsize=(10, 0.55 * len(shown) + 1.4), sharey=True)
    for axes, values, title, text in (
        (rate, [one.per_second for one in shown], "requests/s on one core (more is better)", "{:,.0f}"),
        (tail, [one.p99_ms for one in shown], "p99, ms (less is better)", "{:,.1f}"),
    ):
        bars = axes.barh(names, values, color=colors)
        axes.bar_label(bars, [text.format(value) for value in values], padding=3)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.set_xticks([])
        axes.margins(x=0.18)
    figure.text(0.01, 0.01, caption, fontsize=7, color="#666666")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:120].replace("|", "/")
