"""Charts as inline SVG without a style or a script of their own, so that they pass the strictest CSP. Pure."""

from collections.abc import Sequence

from markupsafe import Markup

SPARK_WIDTH, SPARK_HEIGHT = 160, 36
_INSET = 2.0

Points = Sequence[float | None]


def sparkline(values: Points, title: str, kind: str = "production") -> Markup:
    """Draw a small line from 0 to its largest value; None leaves a gap."""
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    points = [None if y is None else (_x(i, len(values)), _y(y, top)) for i, y in enumerate(values)]
    runs = _runs(points)
    base = SPARK_HEIGHT - _INSET
    areas = Markup("").join(
        Markup('<polygon class="area {}" points="{:.1f},{:.1f} {} {:.1f},{:.1f}"/>').format(
            kind, run[0][0], base, _text(run), run[-1][0], base
        )
        for run in runs
    )
    lines = Markup("").join(Markup('<polyline class="line {}" points="{}"/>').format(kind, _text(run)) for run in runs)
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(SPARK_WIDTH, SPARK_HEIGHT, title, areas, lines)


def stacked_bar(parts: Sequence[tuple[str, float]], title: str) -> Markup:
    """Draw one horizontal bar of named parts; the name is a part's class."""
    whole = sum(value for _, value in parts)
    drawn, x = [], 0.0
    for name, value in parts:
        width = 100 * value / whole if whole else 0.0
        if width:
            drawn.append(Markup('<rect class="{}" x="{:.3f}" y="0" width="{:.3f}" height="6"/>').format(name, x, width))
        x += width
    return Markup(
        '<svg class="stack" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="track" x="0" y="0" width="100" height="6"/>{}</svg>'
    ).format(title, Markup("").join(drawn))


def _runs(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Return each unbroken stretch; one of a single point becomes a short line."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run if len(run) > 1 else [run[0], (run[0][0] + 1.0, run[0][1])] for run in runs if run]


def _text(run: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in run)


def _x(index: int, count: int) -> float:
    return _INSET + (SPARK_WIDTH - 2 * _INSET) * (index / (count - 1) if count > 1 else 0.5)


def _y(value: float, top: float) -> float:
    return _INSET + (SPARK_HEIGHT - 2 * _INSET) * (1.0 - value / top)
