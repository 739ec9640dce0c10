"""The control group on the way from a score to an answer and its row."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from scoring.control_group import RunningControlGroup, is_selected
from scoring.job import Answer
from scoring.log.spool import SpoolFull
from scoring.models.control_slots import DaySlots, ServedControlGroup
from scoring.models.onnx_model import OnnxModel
from tests.support.metric_values import counted
from tests.support.serving_room import Room, in_room
from tests.support.table_model import loaded, table_model

ALWAYS, NEVER = 1.0, 0.0
# By amount: 0 is allowed, 1 reviewed, 2 and 3 are blocked.
PRODUCTION = [0.1, 0.6, 0.95, 0.95]


@pytest.fixture
def production(tmp_path: Path) -> OnnxModel:
    return loaded(tmp_path, table_model(PRODUCTION))


def control(share: float = ALWAYS, answer: str = "review", slots: int = 10) -> ServedControlGroup:
    held = DaySlots()
    held.add(datetime.now(UTC).date(), slots)
    group = RunningControlGroup("cards", share, answer, 10, 2.0, "amount", b"0123456789abcdef")  # type: ignore[arg-type]
    return ServedControlGroup(group, held)


def answered(
    folder: Path, production: OnnxModel, group: ServedControlGroup | None, *, breaker: bool = False
) -> tuple[list[str], list[SimpleNamespace], list[SimpleNamespace]]:
    """The decisions for the amounts 0 to 3, the rows without a propensity, and those with one."""

    async def answers(room: Room) -> tuple[list[str], list[SimpleNamespace], list[SimpleNamespace]]:
        room.serve(production, control=group, breaker=breaker)
        given = [(await room.score(amount, f"e{amount}")).decision for amount in range(4)]
        room.telemetry.publish()
        return given, room.logged(), room.logged("controlled")

    return in_room(folder, answers)


def test_without_a_group_rows_have_no_propensity(tmp_path: Path, production: OnnxModel) -> None:
    given, rows, controlled = answered(tmp_path, production, None)
    assert given == ["allow", "review", "block", "block"]
    assert [row.decision for row in rows] == given
    assert controlled == []


@pytest.mark.parametrize("answer", ["review", "allow"])
def test_a_block_within_the_amount_passes_and_is_logged_with_its_propensity(
    tmp_path: Path, production: OnnxModel, answer: str
) -> None:
    before = counted("sira_control_group_passed_total", product="cards")
    given, rows, controlled = answered(tmp_path, production, control(answer=answer))
    assert given == ["allow", "review", answer, "block"]
    assert counted("sira_control_group_passed_total", product="cards") - before == 1
    assert [row.decision for row in rows] == ["allow", "review"]
    assert [(row.event_id, row.decision, row.propensity) for row in controlled] == [
        ("e2", answer, "1.0"),
        ("e3", "block", "0.0"),
    ]
    assert all(float(row.score) >= float(row.block_threshold) for row in controlled)


def test_a_block_that_is_not_selected_stays_one(tmp_path: Path, production: OnnxModel) -> None:
    before = counted("sira_control_group_passed_total", product="cards")
    given, _, controlled = answered(tmp_path, production, control(NEVER))
    assert given == ["allow", "review", "block", "block"]
    assert counted("sira_control_group_passed_total", product="cards") == before
    assert [row.decision for row in controlled] == ["block", "block"]


def test_a_tripped_breaker_comes_first_and_leaves_no_propensity(tmp_path: Path, production: OnnxModel) -> None:
    group = control(answer="allow")
    given, _, controlled = answered(tmp_path, production, group, breaker=True)
    assert given == ["allow", "review", "review", "review"]
    assert (controlled, group.slots.left(datetime.now(UTC).date())) == ([], 10)


def test_a_canary_s_block_passes_too_and_its_pair_keeps_what_the_models_decided(
    tmp_path: Path, production: OnnxModel
) -> None:
    blocking = loaded(tmp_path, table_model([0.95, 0.95, 0.95, 0.95]), version="2")

    async def answers(room: Room) -> tuple[str, list[SimpleNamespace], list[SimpleNamespace]]:
        room.serve(production, blocking, control=control(answer="allow"))
        decision = (await room.score(1)).decision
        while not (pairs := room.logged("paired")):
            await room.score(1)
        return decision, pairs, room.logged("controlled")

    decision, pairs, controlled = in_room(tmp_path, answers)
    assert decision == "allow"
    assert (pairs[0].canary_decision, pairs[0].production_decision) == ("block", "review")
    assert (controlled[0].variant, controlled[0].decision) == ("canary", "allow")


def test_rows_with_and_without_a_propensity_that_settle_together_are_all_answered(
    tmp_path: Path, production: OnnxModel
) -> None:
    import asyncio

    async def answers(room: Room) -> tuple[list[Answer], int, int]:
        room.serve(production, control=control(0.5, slots=1000))
        given = await asyncio.gather(*(room.score(number % 4, f"e{number}") for number in range(400)))
        return list(given), len(room.logged()), len(room.logged("controlled"))

    given, plain, controlled = in_room(tmp_path, answers)
    assert (plain, controlled) == (200, 200)
    group = control(0.5).group
    for number, answer in enumerate(given):
        expected = ("allow", "review", "review" if is_selected(group, f"e{number}") else "block", "block")[number % 4]
        assert answer.decision == expected


def test_a_let_through_event_whose_row_cannot_be_kept_is_not_answered(tmp_path: Path, production: OnnxModel) -> None:
    async def refused(room: Room) -> None:
        room.serve(production, control=control(slots=10_000))
        for number in range(1000):
            await room.score(2, f"e{number}")

    with pytest.raises(SpoolFull):
        in_room(tmp_path, refused, spool_max_bytes=16 << 10)
