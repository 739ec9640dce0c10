"""Charts as inline SVG: they open offline, print well, and follow light or dark colours through CSS classes."""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 34
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_TICKS = 4
_MAX_MARKED_POINTS = 40  # a line of this many points or fewer marks each, so that a single point is visible

Series = Mapping[str, Sequence[float | None]]


def line_chart(series: Series, x_labels: tuple[str, str], unit: str, *, title: str) -> str:
    """Draw named lines over equally spaced times; None leaves a gap. `x_labels` mark the first and the last point."""
    top = _ceiling(series)
    parts = [_frame(top, unit), _x_ends(*x_labels)]
    for name, values in series.items():
        points = [None if y is None else (_x(i, len(values)), _y(y, top)) for i, y in enumerate(values)]
        parts += [f'<polyline class="{escape(name)}" points="{run}"/>' for run in _runs(points)]
        if len(values) <= _MAX_MARKED_POINTS:
            parts += [
                f'<circle class="{escape(name)}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="2.5"/>'
                for point in points
                if point
            ]
    return _svg(parts, title)


def curve_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]], x_labels: tuple[str, str], unit: str, *, title: str
) -> str:
    """Draw named curves of (x, y), where x runs from 0 at the left end to 1 at the right."""
    top = _ceiling({name: [y for _, y in points] for name, points in curves.items()})
    parts = [_frame(top, unit), _x_ends(*x_labels)]
    for name, points in curves.items():
        placed = [(_LEFT + _PLOT_WIDTH * x, _y(y, top)) for x, y in points]
        parts += [f'<polyline class="{escape(name)}" points="{run}"/>' for run in _runs(placed)]
    return _svg(parts, title)


def histogram(series: Series, x_labels: tuple[str, str], unit: str, *, title: str) -> str:
    """Draw bars side by side, one group per bin."""
    top = _ceiling(series)
    parts = [_frame(top, unit), _x_ends(*x_labels)]
    bins = max((len(values) for values in series.values()), default=0)
    group = _PLOT_WIDTH / max(bins, 1)
    bar = 0.8 * group / max(len(series), 1)
    for position, (name, values) in enumerate(series.items()):
        for i, y in enumerate(values):
            if y:
                x, height = _LEFT + (i + 0.1) * group + position * bar, _y(0.0, top) - _y(y, top)
                parts.append(
                    f'<rect class="{escape(name)}" x="{x:.1f}" y="{_y(y, top):.1f}" width="{bar:.1f}"'
                    f' height="{height:.1f}"/>'
                )
    return _svg(parts, title)


def _svg(parts: Sequence[str], title: str) -> str:
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f"{body}</svg>"
    )


def _frame(top: float, unit: str) -> str:
    lines = []
    for tick in range(_TICKS + 1):
        value = top * tick / _TICKS
        y = _y(value, top)
        label = f"{value:g}{unit}" if tick else "0"
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        )
    return "".join(lines)


def _x_ends(first: str, last: str) -> str:
    y = HEIGHT - 12
    return (
        f'<text x="{_LEFT}" y="{y}">{escape(first)}</text>'
        f'<text x="{WIDTH - _RIGHT}" y="{y}" text-anchor="end">{escape(last)}</text>'
    )


def _runs(points: Sequence[tuple[float, float] | None]) -> list[str]:
    """Return the points of each unbroken stretch in SVG notation."""
    runs: list[list[str]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(f"{point[0]:.1f},{point[1]:.1f}")
    return [" ".join(run) for run in runs if len(run) > 1]


def _ceiling(series: Series) -> float:
    """Return a round number at or above every value, so that its quarters are readable."""
    largest = max((y for values in series.values() for y in values if y is not None), default=0.0)
    if largest <= 0.0:
        return 1.0
    magnitude = 10.0 ** floor(log10(largest))
    return next(step * magnitude for step in (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0) if step * magnitude >= largest)


def _x(index: int, count: int) -> float:
    return _LEFT + _PLOT_WIDTH * (index / (count - 1) if count > 1 else 0.5)


def _y(value: float, top: float) -> float:
    return _TOP + _PLOT_HEIGHT * (1.0 - value / top)
