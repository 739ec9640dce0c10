"""The reliability diagram and the maturation curve put every point where its numbers say."""

import re
from xml.etree import ElementTree

from canary.intervals import NOTHING, share
from console.health.charts import HEIGHT, WIDTH, maturation_chart, reliability_diagram
from monitoring.cohorts.figures import ReliabilityBin
from monitoring.cohorts.maturation import MaturationPoint

BINS = [
    ReliabilityBin(0.0, 0.1, 900, 0.02, share(9, 900)),
    ReliabilityBin(0.9, 1.0, 50, 0.96, share(50, 50)),
]


def dots(svg: str) -> list[tuple[float, float]]:
    found = re.findall(r'<circle[^>]* cx="([\d.]+)" cy="([\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_without_a_value_both_charts_say_so() -> None:
    curve = [MaturationPoint(days, None) for days in (1, 2, 3)]
    for svg in (reliability_diagram([]), maturation_chart(curve), maturation_chart([])):
        assert "no value yet" in svg
        assert dots(svg) == []


def test_a_bin_without_a_share_is_left_out() -> None:
    assert dots(reliability_diagram([ReliabilityBin(0.0, 0.1, 0, 0.05, NOTHING)])) == []


def test_points_are_inside_and_higher_shares_are_higher_up() -> None:
    curve = [MaturationPoint(days, known) for days, known in ((1, 0.0), (2, 0.5), (60, 1.0))]
    for svg in (reliability_diagram(BINS), maturation_chart(curve)):
        ElementTree.fromstring(svg)
        found = dots(svg)
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
        assert found == sorted(found)
        assert [y for _, y in found] == sorted((y for _, y in found), reverse=True)


def test_a_calibrated_bin_lies_on_the_diagonal() -> None:
    svg = reliability_diagram([ReliabilityBin(0.2, 0.3, 1_000, 0.25, share(250, 1_000))])
    diagonal = re.search(r'class="phase" x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)"', svg)
    assert diagonal is not None
    x1, x2, y1, y2 = map(float, diagonal.groups())
    ((x, y),) = dots(svg)
    assert abs((x - x1) / (x2 - x1) - (y - y1) / (y2 - y1)) < 0.002


def test_every_bin_has_its_interval_and_the_charts_are_named() -> None:
    svg = reliability_diagram(BINS)
    assert svg.count('class="tested"') == 2
    assert 'aria-label="Reliability diagram' in svg
    assert 'aria-label="Maturation curve' in maturation_chart([])
