"""Charts as inline SVG without a style or a script of their own, so that they pass the strictest CSP. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from markupsafe import Markup, escape

SPARK_WIDTH, SPARK_HEIGHT = 160, 36
COURSE_WIDTH, COURSE_HEIGHT = 340, 96
_INSET = 2.0
_LEFT, _TOP, _BOTTOM = 46, 6, 8

Points = Sequence[float | None]
Stretch = TypeVar("Stretch")


def sparkline(values: Points, title: str, kind: str = "production") -> Markup:
    """Draw a small line from 0 to its largest value; None leaves a gap."""
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    points = [None if y is None else (_x(i, len(values)), _y(y, top)) for i, y in enumerate(values)]
    runs = _runs(points)
    texts = [_text(run) for run in runs]
    base = SPARK_HEIGHT - _INSET
    areas = Markup("").join(
        Markup('<polygon class="area {}" points="{:.1f},{:.1f} {} {:.1f},{:.1f}"/>').format(
            kind, run[0][0], base, text, run[-1][0], base
        )
        for run, text in zip(runs, texts, strict=True)
    )
    lines = Markup("").join(Markup('<polyline class="line {}" points="{}"/>').format(kind, text) for text in texts)
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
    return [run if len(run) > 1 else [run[0], (run[0][0] + 1.0, run[0][1])] for run in _stretches(points)]


def _stretches(places: Sequence[Stretch | None]) -> list[list[Stretch]]:
    """Return what lies between two gaps, in order."""
    found: list[list[Stretch]] = [[]]
    for place in places:
        if place is None:
            found.append([])
        else:
            found[-1].append(place)
    return [stretch for stretch in found if stretch]


def _text(run: Sequence[tuple[float, float]]) -> str:
    return " ".join([f"{x:.1f},{y:.1f}" for x, y in run])


def _x(index: int, count: int) -> float:
    return _INSET + (SPARK_WIDTH - 2 * _INSET) * (index / (count - 1) if count > 1 else 0.5)


def _y(value: float, top: float) -> float:
    return _INSET + (SPARK_HEIGHT - 2 * _INSET) * (1.0 - value / top)


class Moment(NamedTuple):
    """A value at a place between 0 and 1; None leaves a gap.

    `low`, `high`: its band, where it has one; a band with one end only is open to the other side.
    """

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None


def course_chart(
    points: Sequence[Moment],
    limit: float | None,
    limit_text: str,
    title: str,
    changes: Sequence[float] = (),
    tested: Sequence[float] = (),
) -> Markup:
    """Draw a value over time with its band and its limit as a dotted line.

    `changes`: places where another phase began; `tested`: values that the band is compared with, if not the limit.
    """
    known = [value for point in points for value in (point.y, point.low) if value is not None]
    top = max([*known, *tested, limit or 0.0]) * 1.15 or 1.0

    def x(place: float) -> float:
        return _LEFT + (COURSE_WIDTH - _LEFT - _INSET) * place

    def y(value: float) -> float:
        return _TOP + (COURSE_HEIGHT - _TOP - _BOTTOM) * (1.0 - max(0.0, value) / top)

    base, right = COURSE_HEIGHT - _BOTTOM, COURSE_WIDTH - _INSET
    parts = [Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, right, base, base)]
    parts += [
        Markup('<line class="phase" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(x(at), x(at), _TOP, base)
        for at in changes
    ]
    bands = [
        None
        if point.low is None and point.high is None
        else (x(point.x), y(point.low or 0.0), y(top if point.high is None else min(point.high, top)))
        for point in points
    ]
    parts += [_band(stretch) for stretch in _stretches(bands)]
    runs = _runs([None if point.y is None else (x(point.x), y(point.y)) for point in points])
    parts += [
        Markup('<line class="tested" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(_LEFT, right, y(at), y(at))
        for at in tested
    ]
    parts += [Markup('<polyline class="line canary" points="{}"/>').format(_text(run)) for run in runs]
    if runs:
        cx, cy = runs[-1][-1]
        parts.append(Markup('<circle class="dot canary" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(cx, cy))
    if limit is not None:
        parts.append(
            Markup('<line class="limit" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                _LEFT, right, y(limit), y(limit)
            )
        )
        parts.append(Markup('<text x="{}" y="{:.1f}">{}</text>').format(_LEFT - 5, y(limit) + 3.5, limit_text))
    parts.append(Markup('<text x="{}" y="{:.1f}">0</text>').format(_LEFT - 5, base + 3.5))
    if not known and not any(bands):
        middle = Markup('<text class="empty" x="{}" y="{}">no value yet</text>')
        parts.append(middle.format((_LEFT + COURSE_WIDTH) / 2, COURSE_HEIGHT / 2 + 4))
    return Markup('<svg class="course" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        COURSE_WIDTH, COURSE_HEIGHT, title, Markup("").join(parts)
    )


def _band(stretch: Sequence[tuple[float, float, float]]) -> Markup:
    """Draw a stretch of (x, lower y, upper y); one of a single place becomes a narrow one."""
    places = stretch if len(stretch) > 1 else [stretch[0], (stretch[0][0] + 1.0, *stretch[0][1:])]
    outline = [(x, low) for x, low, _ in places] + [(x, high) for x, _, high in reversed(places)]
    return Markup('<polygon class="band" points="{}"/>').format(_text(outline))


def meter(share: float, title: str, kind: str) -> Markup:
    """Draw how far something has come, from 0 to 1."""
    return Markup(
        '<svg class="meter" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="track" x="0" y="0" width="100" height="6"/>'
        '<rect class="{}" x="0" y="0" width="{:.2f}" height="6"/></svg>'
    ).format(title, kind, 100 * min(1.0, max(0.0, share)))


def verdict_strip(moments: Sequence[tuple[float, str]]) -> Markup:
    """Draw verdicts over time as one coloured strip: (place, verdict), in order."""
    counted = Counter(verdict for _, verdict in moments)
    kinds = {verdict: escape(verdict) for verdict in counted}
    parts = []
    before = 0.0
    for place, verdict in moments:
        x, width = min(100 * before, 99.6), max(0.4, 100 * (place - before))
        parts.append(f'<rect class="{kinds[verdict]}" x="{x:.2f}" y="0" width="{width:.2f}" height="10"/>')
        before = place
    counts = ", ".join(f"{count} {verdict}" for verdict, count in counted.items())
    return Markup(
        '<svg class="verdicts" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="Verdicts: {}">'
        "{}</svg>"
    ).format(counts or "none", Markup("".join(parts)))


def score_scale(score: float | None, review: float, block: float) -> Markup:
    """Draw a score between 0 and 1, with the zones that its thresholds make."""
    zones = (("allow", 0.0, review), ("review", review, block), ("block", block, 1.0))
    drawn = Markup("").join(
        Markup('<rect class="zone {}" x="{:.2f}" y="12" width="{:.2f}" height="8"/>').format(
            name, 100 * first, 100 * max(0.0, last - first)
        )
        for name, first, last in zones
    )
    words = "no score" if score is None else f"score {score:.4f}"
    title = f"{words}; review from {review:g}, block from {block:g}"
    mark = Markup("")
    if score is not None:
        x = 100 * min(1.0, max(0.0, score))
        mark = Markup('<path class="mark" d="M{:.2f} 11 l-1.4 -7 h2.8 z"/><line class="mark" x1="{:.2f}" x2="{:.2f}"')
        mark = Markup(mark + Markup(' y1="10" y2="22"/>')).format(x, x, x)
    return Markup(
        '<svg class="scale" viewBox="-2 0 104 24" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(title, drawn, mark)


def impact_bar(share: float, title: str) -> Markup:
    """Draw an impact from -1 to 1 as a bar to the left or to the right of the middle."""
    width = 50 * min(1.0, abs(share))
    return Markup(
        '<svg class="impact" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<line class="grid" x1="50" x2="50" y1="0" y2="10"/>'
        '<rect class="{}" x="{:.2f}" y="1" width="{:.2f}" height="8"/></svg>'
    ).format(title, "raises" if share > 0 else "lowers", 50 if share > 0 else 50 - width, width)
