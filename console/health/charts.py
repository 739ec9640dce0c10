"""The reliability diagram and the maturation curve as inline SVG, in the style of console/charts.py. Pure."""

from collections.abc import Sequence

from markupsafe import Markup

from monitoring.cohorts.figures import ReliabilityBin
from monitoring.cohorts.maturation import MaturationPoint

WIDTH, HEIGHT = 340, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 34


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> Markup:
    """Draw the observed share of fraud over the mean score, with 95 % intervals; on the diagonal the two are equal."""
    parts = [Markup('<line class="phase" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(_x(0), _x(1), _y(0), _y(1))]
    line = []
    for one in bins:
        x = _x(one.mean_score)
        if one.fraud.value is None or one.fraud.low is None or one.fraud.high is None:
            continue
        whisker = Markup('<line class="tested" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
        parts.append(whisker.format(_y(one.fraud.low), _y(one.fraud.high), x=x))
        line.append((x, _y(one.fraud.value)))
    ticks = [(tenth / 10, f"{tenth / 10:g}") for tenth in range(0, 11, 2)]
    return _drawn(parts, line, ticks, "mean score", f"Reliability diagram: share of fraud over score, {len(line)} bins")


def maturation_chart(points: Sequence[MaturationPoint]) -> Markup:
    """Draw the share of labels that are known over their age; ages are at equal distances."""
    places = [place / (len(points) - 1) for place in range(len(points))]
    line = [(_x(x), _y(point.share)) for x, point in zip(places, points, strict=True) if point.share is not None]
    ticks = [(x, str(point.age_days)) for x, point in zip(places, points, strict=True)]
    return _drawn([], line, ticks, "age in days", "Maturation curve: share of labels known over age in days")


def _drawn(
    parts: list[Markup], line: Sequence[tuple[float, float]], ticks: Sequence[tuple[float, str]], axis: str, title: str
) -> Markup:
    grid = Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>')
    texts = Markup('<text x="{:.1f}" y="{:.1f}">{}</text>')
    frame = [grid.format(_x(0), _x(1), y=_y(share)) for share in (0, 0.5, 1)]
    frame += [texts.format(_LEFT - 5, _y(share) + 3.5, f"{share:.0%}") for share in (0, 0.5, 1)]
    frame += [texts.format(min(WIDTH, _x(x) + 3.5 * len(text)), _y(0) + 13, text) for x, text in ticks]
    frame.append(texts.format(WIDTH - _RIGHT, HEIGHT - 4, axis))
    drawn = [Markup('<circle class="dot canary" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(x, y) for x, y in line]
    if line:
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        drawn.insert(0, Markup('<polyline class="line canary" points="{}"/>').format(text))
    else:
        drawn = [Markup('<text class="empty" x="{}" y="{}">no value yet</text>').format(_x(0.5), _y(0.5) + 4)]
    return Markup('<svg class="course" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join([*frame, *parts, *drawn])
    )


def _x(place: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(1.0, max(0.0, place))


def _y(share: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1.0 - min(1.0, max(0.0, share)))
