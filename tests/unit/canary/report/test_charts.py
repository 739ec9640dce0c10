import re
import xml.etree.ElementTree as ElementTree

import pytest

from canary.report.charts import HEIGHT, WIDTH, histogram, line_chart

ENDS = ("monday", "tuesday")


def elements(svg: str, tag: str) -> list[dict[str, str]]:
    return [element.attrib for element in ElementTree.fromstring(svg).iter(tag)]


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    svg = line_chart({"canary": [1.0, 2.0, None, 3.0, 4.0]}, ENDS, " ms", title="p95")
    assert [len(line["points"].split()) for line in elements(svg, "polyline")] == [2, 2]


@pytest.mark.parametrize("values", [[], [None], [0.0], [5.0], [None, 1e-9, 1e9]])
def test_the_marks_of_any_values_lie_inside_the_chart(values: list[float | None]) -> None:
    svg = line_chart({"production": values}, ENDS, "", title="errors")
    for circle in elements(svg, "circle"):
        assert 0 <= float(circle["cx"]) <= WIDTH
        assert 0 <= float(circle["cy"]) <= HEIGHT


def test_the_scale_ends_at_a_round_number_above_every_value() -> None:
    svg = line_chart({"canary": [0.7, 3.1]}, ENDS, " %", title="errors")
    assert ">4 %<" in svg
    assert re.findall(r">(\d[\d.]*) %<", svg) == ["1", "2", "3", "4"]


def test_the_bars_of_the_arms_are_side_by_side() -> None:
    svg = histogram({"production": [10.0, 0.0], "canary": [5.0, None]}, ENDS, " %", title="scores")
    production, canary = elements(svg, "rect")
    assert float(production["x"]) + float(production["width"]) == pytest.approx(float(canary["x"]), abs=0.2)
    assert float(production["height"]) == pytest.approx(2 * float(canary["height"]), abs=0.2)


def test_text_cannot_break_out_of_the_chart() -> None:
    svg = line_chart({"canary": [1.0]}, ("<script>", "&"), "", title='"<b>')
    assert "<script>" not in svg
    ElementTree.fromstring(svg)
