"""Charts as SVG that needs neither a style nor a script."""

from xml.etree import ElementTree

import pytest

from console.charts import sparkline, stacked_bar


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(f".//{name}")


@pytest.mark.parametrize("values", [[], [None], [None, None]])
def test_a_course_without_values_draws_nothing(values: list[float | None]) -> None:
    assert not elements(sparkline(values, "t"), "polyline")


def test_a_gap_splits_the_line_and_a_single_point_is_visible() -> None:
    lines = elements(sparkline([1.0, 2.0, None, 3.0], "t"), "polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 2]


def test_the_largest_value_is_at_the_top_and_zero_at_the_bottom() -> None:
    (line,) = elements(sparkline([0.0, 5.0], "t"), "polyline")
    assert [point.split(",")[1] for point in line.attrib["points"].split()] == ["34.0", "2.0"]


def test_all_zeros_lie_on_the_bottom() -> None:
    (line,) = elements(sparkline([0.0, 0.0], "t"), "polyline")
    assert {point.split(",")[1] for point in line.attrib["points"].split()} == {"34.0"}


def test_a_title_is_escaped() -> None:
    assert ElementTree.fromstring(sparkline([1.0], '"><script>')).attrib["aria-label"] == '"><script>'


def test_the_parts_of_a_bar_fill_it_in_order() -> None:
    _, first, second = elements(stacked_bar([("allow", 3), ("review", 0), ("block", 1)], "t"), "rect")
    assert (first.attrib["class"], float(first.attrib["width"])) == ("allow", 75.0)
    assert (second.attrib["class"], float(second.attrib["x"]), float(second.attrib["width"])) == ("block", 75.0, 25.0)


def test_a_bar_of_nothing_is_only_its_track() -> None:
    assert len(elements(stacked_bar([("allow", 0)], "t"), "rect")) == 1
