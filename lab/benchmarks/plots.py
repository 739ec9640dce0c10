"""The plots of the README: SVG, on a white background so that they are readable on a dark page too."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
matplotlib.rcParams |= {"svg.hashsalt": "sira", "font.size": 9}  # a fixed salt: equal figures give an equal file

from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from lab.benchmarks.latency import LatencyRun, by_second  # noqa: E402
from lab.benchmarks.report import LIMIT, OURS, OURS_CANARY, OURS_ONE_DISK  # noqa: E402
from lab.benchmarks.side_by_side import Outcome  # noqa: E402
from lab.load.open_loop import Recording  # noqa: E402

DOCS = Path(__file__).parents[2] / "docs"
COMPARISON, LATENCY = DOCS / "bench.svg", DOCS / "latency.svg"
BLUE, PALE_BLUE, GREY, PALE_GREY, DARK, RED = "#1f77b4", "#6baed6", "#8c8c8c", "#cccccc", "#444444", "#d62728"


def comparison(path: Path, outcomes: Sequence[Outcome], caption: str) -> None:
    """Plot requests/s and p99 of each contender that did not fail."""
    shown = sorted((one for one in outcomes if one.failed is None), key=lambda one: one.per_second)
    names = [one.title.replace("`", "").replace("*", "") for one in shown]
    colors = [
        {OURS: BLUE, OURS_CANARY: PALE_BLUE, OURS_ONE_DISK: PALE_BLUE, LIMIT: PALE_GREY}.get(one.name, GREY)
        for one in shown
    ]
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
    _save(figure, path, caption)


def latency(path: Path, run: LatencyRun, recording: Recording, caption: str) -> None:
    """Plot the histogram of latencies on logarithmic axes, and p50 and p99 of each second with the promotion marked."""
    milliseconds = recording.latency[~np.isnan(recording.latency)] * 1e3
    figure, (histogram, timeline) = pyplot.subplots(1, 2, figsize=(11, 3.6))
    edges = np.geomspace(max(milliseconds.min(), 0.05), milliseconds.max() * 1.01, 80)
    histogram.hist(milliseconds, bins=edges, color=BLUE)
    histogram.set(xscale="log", yscale="log", xlabel="milliseconds from when the request was due", ylabel="requests")
    histogram.xaxis.set_major_formatter("{x:g}")
    shown = {"p50": run.tail.p50_ms, "p95": run.tail.p95_ms, "p99": run.tail.p99_ms, "p99.9": run.tail.p999_ms}
    for name, value in shown.items():
        histogram.axvline(value, color=DARK, linewidth=0.8, linestyle="--")
        histogram.annotate(
            f"{name}\n{value:.1f}", (value, 0.98), xycoords=("data", "axes fraction"), va="top", fontsize=7
        )
    seconds, p50, p99 = by_second(recording, run.rate)
    timeline.plot(seconds, p99, color=BLUE, linewidth=0.8, label="p99 of each second")
    timeline.plot(seconds, p50, color=GREY, linewidth=0.8, label="p50 of each second")
    timeline.axvline(run.promoted_at_seconds, color=RED, linewidth=0.8, label="promotion")
    timeline.set(xlabel="seconds", ylabel="milliseconds", ylim=(0, None))
    timeline.legend(frameon=False, fontsize=8)
    for axes in (histogram, timeline):
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path, caption)


def _save(figure: Figure, path: Path, caption: str) -> None:
    figure.text(0.01, 0.01, caption, fontsize=7, color="#666666")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
