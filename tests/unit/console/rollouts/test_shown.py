"""A rollout as its page shows it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from msgspec import structs

from canary.judge.measurement import Measurement
from canary.limits import DEFAULT_LIMITS
from canary.plan import Plan, Step
from canary.rollout.store import StoredRollout
from console.charts import Moment, course_chart, meter, verdict_strip
from console.rollouts import progress, strip, tiles
from console.rollouts.course import JudgedMoment

NOW = datetime(2026, 11, 27, 4, tzinfo=UTC)
PLAN = Plan((Step(10, 600), Step(50, 0, "manual")))
ROLLOUT = StoredRollout(
    "r", "cards", "c", "p", 10, "running", "sequential", PLAN, DEFAULT_LIMITS, 0, 0, NOW - timedelta(minutes=4), NOW,
    None, None, None, NOW, "ana", None,
)  # fmt: skip
ERRORS = Measurement("error_ratio", "pass", "rare", 1.1, 1.5, "ratio", 25.0, 250.0)
FUSE = Measurement("fuse", "pass", "closed", 0, 0, "trips")


def moment(seconds: float = 0, verdict: str = "continue", phase: int = 0, *measurements: Measurement) -> JudgedMoment:
    at = NOW + timedelta(seconds=seconds)
    return JudgedMoment(at, phase, verdict, verdict, ("the reason",), measurements or (ERRORS, FUSE))


def test_a_step_has_baked_for_as_long_as_it_lasts() -> None:
    first, second = progress.steps(ROLLOUT, NOW)
    assert (first.state, first.baked, first.clock) == ("current", 240, "6 min of 10 min left")
    assert (second.state, second.clock) == ("next", "no bake time")


def test_an_ended_rollout_bakes_no_longer_and_a_promoted_one_is_done() -> None:
    stopped = replace(ROLLOUT, status="stopped", ended_at=NOW - timedelta(minutes=3))
    assert [(step.state, step.baked) for step in progress.steps(stopped, NOW)] == [("reached", 60), ("next", 0)]
    promoted = replace(ROLLOUT, status="promoted", ended_at=NOW)
    assert [step.state for step in progress.steps(promoted, NOW)] == ["done", "done"]


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, None, "has not been judged yet"),
        ({}, "continue", "waits for more evidence: the reason"),
        ({}, "hold", "on hold: the reason"),
        ({}, "rollback", "being rolled back"),
        ({}, "advance", "must last another 6 min"),
        ({"step": 1}, "advance", "step's gate is manual"),
        ({"step_started_at": NOW - timedelta(hours=1)}, "advance", "advances with the next verdict"),
        ({"status": "paused"}, "advance", "An operator has paused it"),
        ({"status": "stopped"}, "advance", "was stopped"),
        ({"status": "rolled_back"}, "rollback", "was rolled back"),
        ({"status": "promoted"}, "advance", "is production now"),
    ],
)
def test_it_says_in_one_sentence_what_it_waits_for(changes: dict[str, Any], verdict: str | None, words: str) -> None:
    latest = None if verdict is None else moment(verdict=verdict)
    assert words in progress.waits_for(replace(ROLLOUT, **changes), latest, NOW)


def test_a_step_that_only_has_to_bake_says_how_long() -> None:
    baking = Measurement("bake", "unknown", "the step has not yet lasted as long as its plan asks")
    assert progress.waits_for(ROLLOUT, moment(0, "continue", 0, ERRORS, baking), NOW) == (
        "Every measurement passes; the step must last another 6 min."
    )


def test_each_measurement_with_a_figure_has_a_tile_and_the_others_are_checks() -> None:
    course = [moment(0), moment(5)]
    assert [tile.title for tile in tiles.tiles(course)] == ["Errors"]
    assert [title for title, _ in tiles.checks(course)] == ["Fuse"]
    assert tiles.tiles([]) == tiles.checks([]) == []


def test_a_custom_metric_is_a_tile_under_its_own_name() -> None:
    custom = Measurement("refunds", "hold", "no value", None, 3.0)
    (tile,) = tiles.tiles([moment(0, "hold", 0, custom)])
    assert (tile.title, tile.value, tile.limit, tile.word) == ("refunds", "–", "3", "needs review")


def test_a_tile_gives_values_in_their_unit_and_evidence_beside_what_is_needed() -> None:
    (tile,) = tiles.tiles([moment()])
    assert (tile.value, tile.limit) == ("1.10 ×", "1.50 ×")
    assert tile.evidence_text == "evidence 25 of 250 for a rollback"


def test_a_tile_gives_the_confidence_sequence_in_words_and_in_its_table() -> None:
    bounded = replace_bounds(ERRORS, low=1.26)
    (tile,) = tiles.tiles([moment(), moment(5, "hold", 0, bounded)])
    assert tile.interval == "above 1.26 × with 99.6 % confidence"
    assert [row.interval for row in tile.rows] == ["above 1.26", "–"]
    assert tiles.tiles([moment()])[0].interval == ""


def test_the_band_of_a_tile_lies_beside_the_ratio_that_is_tested_and_the_limit() -> None:
    bounded = [replace_bounds(ERRORS, low=low, tested=1.2) for low in (1.2, 1.26)]
    (tile,) = tiles.tiles([moment(0, "hold", 0, bounded[0]), moment(5, "hold", 0, bounded[1])])
    svg = ElementTree.fromstring(tile.chart)
    (band,) = [one for one in svg if one.get("class") == "band"]
    (tested,) = [one for one in svg if one.get("class") == "tested"]
    assert band.attrib["points"].split()[0].split(",")[1] == tested.attrib["y1"]
    blocks = Measurement("block_ratio", "pass", "r", 1.0, 2.0, "ratio", 1.0, 2000.0, low=0.9, high=1.4)
    (tile,) = tiles.tiles([moment(0, "continue", 0, blocks)])
    assert tile.interval == "0.90 × to 1.40 × with 99.9 % confidence"
    assert tile.chart.count('class="tested"') == 1


def replace_bounds(measurement: Measurement, **bounds: float) -> Measurement:
    return structs.replace(measurement, **bounds)


def test_evidence_is_measured_on_a_scale_of_factors() -> None:
    for evidence, share in ((0.0, 0), (1.0, 0), (250**0.5, 50), (250.0, 100), (1e299, 100)):
        (tile,) = tiles.tiles([moment(0, "continue", 0, replace_evidence(evidence))])
        _, bar = ElementTree.fromstring(tile.evidence or "")
        assert float(bar.attrib["width"]) == pytest.approx(share)


def replace_evidence(evidence: float) -> Measurement:
    return Measurement("error_ratio", "pass", "r", 1.0, 1.5, "ratio", evidence, 250.0)


def test_the_table_of_a_long_course_is_short_and_begins_with_the_newest() -> None:
    course = [moment(5 * n) for n in range(100)]
    (tile,) = tiles.tiles(course)
    assert len(tile.rows) <= tiles.MAX_TABLE_ROWS
    assert tile.rows[0].at == course[-1].judged_at


def test_verdicts_of_the_same_kind_are_one_run() -> None:
    course = [moment(0), moment(5), moment(10, "hold"), moment(15)]
    spans = [(first.judged_at, last.judged_at, last.verdict) for first, last in strip.runs(course)]
    assert [verdict for _, _, verdict in spans] == ["continue", "hold", "continue"]
    assert spans[-1][:2] == (course[0].judged_at, course[1].judged_at)


@pytest.mark.parametrize("course", [[], [moment()], [moment(0), moment(0)]])
def test_the_strip_of_a_moment_or_of_none_is_drawn(course: list[JudgedMoment]) -> None:
    assert len(ElementTree.fromstring(strip.strip(course))) == len(course)


def test_the_limit_is_drawn_at_its_own_height_beside_the_values() -> None:
    svg = ElementTree.fromstring(course_chart([Moment(0, 0.0), Moment(1, 2.0)], 2.0, "2 ×", "t"))
    line = next(one for one in svg if one.attrib["class"] == "limit")
    curve = next(one for one in svg if one.attrib["class"] == "line canary")
    assert line.attrib["y1"] == line.attrib["y2"] == curve.attrib["points"].split(",")[-1]


def heights(points: str) -> list[float]:
    return [float(point.split(",")[1]) for point in points.split()]


@pytest.mark.parametrize(
    ("low", "high", "bottom", "top"),
    [(0.5, 1.5, 0.5, 1.5), (0.5, None, 0.5, 2.3), (None, 1.5, 0, 1.5), (0.5, 9, 0.5, 2.3)],
)
def test_a_band_reaches_from_its_low_to_its_high_and_to_the_edge_where_it_is_open(
    low: float | None, high: float | None, bottom: float, top: float
) -> None:
    """The largest value is 2, so that the plot ends at 2.3."""
    svg = ElementTree.fromstring(course_chart([Moment(0, 2.0, low, high), Moment(1, 2.0, low, high)], 1.0, "1", "t"))
    (band,) = [one for one in svg if one.get("class") == "band"]
    expected = [88 - 82 * value / 2.3 for value in (bottom, bottom, top, top)]
    assert heights(band.attrib["points"]) == pytest.approx(expected, abs=0.06)


def test_a_moment_without_bounds_parts_the_band() -> None:
    points = [Moment(0, 1.0, 0.5), Moment(0.2, 1.0, 0.5), Moment(0.5, 1.0), Moment(1, 1.0, 0.5)]
    svg = ElementTree.fromstring(course_chart(points, 1.0, "1", "t"))
    assert [len(one.attrib["points"].split()) for one in svg if one.get("class") == "band"] == [4, 4]


def test_a_course_with_bounds_only_is_drawn() -> None:
    assert "no value yet" not in course_chart([Moment(0, None, None, 1.2)], 1.3, "1.3", "t")


def test_a_course_without_a_value_says_so() -> None:
    assert "no value yet" in course_chart([Moment(0, None)], 1.0, "1", "t")
    assert "no value yet" in course_chart([], None, "", "t")


@pytest.mark.parametrize(("share", "width"), [(-1, 0), (0, 0), (0.5, 50), (2, 100)])
def test_a_meter_stays_within_its_track(share: float, width: float) -> None:
    assert float(ElementTree.fromstring(meter(share, "t", "go"))[1].attrib["width"]) == width


def test_the_strip_counts_its_verdicts_for_those_who_cannot_see_it() -> None:
    label = ElementTree.fromstring(verdict_strip([(0.0, "hold"), (0.5, "hold"), (1.0, "advance")])).attrib["aria-label"]
    assert label == "Verdicts: 2 hold, 1 advance"
