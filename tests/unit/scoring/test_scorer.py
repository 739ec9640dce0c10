"""One request, a straight line; a canary's failure is never the caller's."""

import asyncio
import math
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from canary.split import Split, choose_arm
from registry.model_version import ModelVersion
from registry.signature import Signature
from scoring.errors import ModelNotLoaded, ModelTimedOut, ProductUnknown, ScoringFailed
from scoring.job import Answer
from scoring.log.prediction import payload_sha256, prediction_id
from scoring.log.spool import SpoolFull
from scoring.models.onnx_model import OnnxModel
from scoring.models.slots import Snapshot
from tests.support.metric_values import counted
from tests.support.serving_room import ROLLOUT_ID, Room, in_room
from tests.support.table_model import loaded, table_model, version_of

# By amount: 0 and 1 are what warm-up asks for; 4 and up raise where the table ends.
PRODUCTION = [0.1, 0.6, 0.95, 0.2, 0.3, 0.4, 0.5]
CANARY = [0.2, 0.7, 0.05, math.nan]


@pytest.fixture
def production(tmp_path: Path) -> OnnxModel:
    return loaded(tmp_path, table_model(PRODUCTION))


@pytest.fixture
def canary(tmp_path: Path) -> OnnxModel:
    return loaded(tmp_path, table_model(CANARY), version="2")


async def paired(room: Room, rows: int) -> list[SimpleNamespace]:
    deadline = time.monotonic() + 10
    while len(found := room.logged("paired")) < rows and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return found


def test_an_answer_is_the_model_s_score_its_decision_and_who_gave_it(tmp_path: Path, production: OnnxModel) -> None:
    async def answers(room: Room) -> list[Answer]:
        room.serve(production)
        return [await room.score(amount) for amount in (0, 1, 2)]

    given = in_room(tmp_path, answers)
    assert [(round(a.score, 6), a.decision) for a in given] == [(0.1, "allow"), (0.6, "review"), (0.95, "block")]
    assert {(a.model_id, a.model_version, a.variant, a.cached) for a in given} == {
        (production.version.model_id, "1", "production", False)
    }


def test_the_row_is_in_the_log_before_the_answer_and_holds_what_a_replay_needs(
    tmp_path: Path, production: OnnxModel
) -> None:
    async def logged(room: Room) -> tuple[Answer, list[SimpleNamespace]]:
        room.serve(production)
        answer = await room.score(2, "e1", note="x")
        return answer, room.logged()

    answer, (row,) = in_room(tmp_path, logged)
    canonical = b'{"amount":2,"note":"x"}'
    version = production.version
    assert row.payload.encode() == canonical
    assert row.payload_sha256 == payload_sha256(canonical)
    assert answer.prediction_id == row.prediction_id
    assert row.prediction_id == prediction_id(version.model_id, "cards", "e1", row.payload_sha256)
    assert (row.event_id, row.routing_key, row.product) == ("e1", "e1", "cards")
    assert (row.model_id, row.model_version, row.artifact_sha256) == (version.model_id, "1", version.sha256)
    assert (float(row.score), row.decision, row.outcome) == (answer.score, "block", "ok")
    assert (row.review_threshold, row.block_threshold) == ("0.5", "0.9")
    assert (row.variant, row.arm, row.rollout_id, row.phase, row.cached) == (
        *("production", "production", None, None, "False"),
    )
    assert abs(float(row.created_at) - time.time()) < 60
    assert 0 < float(row.latency_seconds) < 60


def test_the_same_event_is_the_same_prediction_the_second_time_from_the_cache(
    tmp_path: Path, production: OnnxModel
) -> None:
    async def answers(room: Room) -> list[Answer]:
        room.serve(production)
        return [await room.score(2) for _ in range(2)]

    first, second = in_room(tmp_path, answers)
    assert (first.cached, second.cached) == (False, True)
    assert (first.prediction_id, first.score) == (second.prediction_id, second.score)


def test_the_same_event_with_another_payload_is_another_prediction(tmp_path: Path, production: OnnxModel) -> None:
    async def ids(room: Room) -> set[str]:
        room.serve(production)
        return {(await room.score(amount)).prediction_id for amount in (1, 2)}

    assert len(in_room(tmp_path, ids)) == 2


def test_what_a_model_does_not_read_makes_no_difference_to_the_cache(tmp_path: Path, production: OnnxModel) -> None:
    async def cached(room: Room) -> list[bool]:
        room.serve(production)
        return [(await room.score(2, note=note)).cached for note in "ab"]

    assert in_room(tmp_path, cached) == [False, True]


def test_one_file_registered_twice_with_other_meanings_never_shares_a_score(tmp_path: Path) -> None:
    """The same artifact may be registered with either class as fraud."""
    artifact = table_model([0.1, 0.6])
    plain = loaded(tmp_path, artifact)
    known = version_of(artifact, product="turned")
    signature = Signature(
        layout=known.signature.layout,
        fields=known.signature.fields,
        output_name="score",
        output_layout="probability",
        positive=0,
    )
    values = {name: getattr(known, name) for name in ModelVersion.__slots__}
    turned = OnnxModel(ModelVersion(**{**values, "signature": signature}), tmp_path / f"{plain.version.model_id}.onnx")

    async def cached(room: Room) -> list[bool]:
        room.serve(plain)
        room.serve(turned)
        return [(await room.score(1, product=product)).cached for product in ("cards", "turned", "cards", "turned")]

    assert in_room(tmp_path, cached) == [False, False, True, True]


def test_what_arrives_together_is_scored_together_and_alike(tmp_path: Path, production: OnnxModel) -> None:
    amounts = [n % 7 for n in range(700)]

    async def scores(room: Room) -> tuple[list[float], float]:
        room.serve(production)
        before = counted("sira_model_score_seconds_count", product="cards", variant="production")
        answers = await asyncio.gather(*(room.score(amount, f"e{n}") for n, amount in enumerate(amounts)))
        room.telemetry.publish()
        runs = counted("sira_model_score_seconds_count", product="cards", variant="production") - before
        return [answer.score for answer in answers], runs

    alone = [float(production.score([(float(n),)])[0]) for n in range(7)]
    given, runs = in_room(tmp_path, scores, cache_max_items=0)
    assert given == [alone[amount] for amount in amounts]
    assert runs == 3, "700 rows in runs of at most 256"


def test_an_unknown_product_and_one_that_is_not_loaded_get_different_answers(
    tmp_path: Path, production: OnnxModel
) -> None:
    async def refusals(room: Room) -> list[str]:
        said = []
        for snapshot in (
            Snapshot(),
            Snapshot(waiting={"cards": "model x is not loaded: ArtifactMissing"}, synced=True),
            Snapshot(synced=True),
        ):
            room.slots.swap(snapshot)
            with pytest.raises((ModelNotLoaded, ProductUnknown)) as refused:
                await room.score(1)
            said.append(f"{type(refused.value).__name__} {refused.value}")
        return said

    assert [line[:60] for line in in_room(tmp_path, refusals)] == [
        "ModelNotLoaded not ready: no model is loaded yet",
        "ModelNotLoaded not ready: model x is not loaded: ArtifactMissing"[:60],
        "ProductUnknown no such product: it has no production model (see GET"[:60],
    ]


def test_a_request_keeps_the_models_it_began_with_through_a_swap(tmp_path: Path, production: OnnxModel) -> None:
    other = loaded(tmp_path, table_model([0.9, 0.9]), version="2")

    async def versions(room: Room) -> list[str]:
        room.serve(production)
        before = asyncio.ensure_future(room.score(1, "before"))
        await asyncio.sleep(0)
        room.serve(other)
        after = await room.score(1, "after")
        return [(await before).model_version, after.model_version]

    assert in_room(tmp_path, versions) == ["1", "2"]


# ---------------------------------------------------------------- canary


@pytest.mark.parametrize(
    ("amount", "outcome"), [(3, "canary_non_finite"), (5, "canary_error")], ids=["not a number", "raises"]
)
def test_what_the_canary_fails_production_answers_and_it_counts_against_the_canary(
    tmp_path: Path, production: OnnxModel, canary: OnnxModel, amount: int, outcome: str
) -> None:
    labels = {"product": "cards", "reason": outcome}
    before = counted("sira_canary_fallbacks_total", **labels)

    async def answer(room: Room) -> tuple[Answer, list[SimpleNamespace]]:
        room.serve(production, canary)
        given = await room.score(amount)
        room.telemetry.publish()
        return given, room.logged()

    given, (row,) = in_room(tmp_path, answer)
    assert (given.variant, given.model_id) == ("production", production.version.model_id)
    assert given.score == pytest.approx(PRODUCTION[amount])
    assert (row.arm, row.variant, row.outcome, row.model_seconds) == ("canary", "production", outcome, None)
    assert row.rollout_id == ROLLOUT_ID
    assert counted("sira_canary_fallbacks_total", **labels) - before == 1


def test_a_slow_canary_is_answered_by_production_within_its_budget(tmp_path: Path, production: OnnxModel) -> None:
    slow = loaded(tmp_path, table_model([0.5] * 3, spins=[400, 400, 40_000]), version="2")

    async def answer(room: Room) -> tuple[Answer, float, list[SimpleNamespace]]:
        room.serve(production, slow, timeout_seconds=0.25)
        started = time.perf_counter()
        given = await room.score(2)
        return given, time.perf_counter() - started, room.logged()

    given, seconds, (row,) = in_room(tmp_path, answer)
    assert not slow.inline
    assert (given.variant, given.score) == ("production", pytest.approx(PRODUCTION[2]))
    assert 0.25 <= seconds < 0.75
    assert (row.arm, row.outcome) == ("canary", "canary_timeout")


def test_a_slow_canary_within_its_budget_answers_itself_beside_a_quick_production(
    tmp_path: Path, production: OnnxModel
) -> None:
    slow = loaded(tmp_path, table_model([0.25, 0.75], spins=[300, 300]), version="2")

    async def variants(room: Room) -> set[tuple[str, float]]:
        room.serve(production, slow, percent=50, timeout_seconds=5)
        answers = await asyncio.gather(*(room.score(1, f"e{n}") for n in range(60)))
        return {(a.variant, round(a.score, 3)) for a in answers}

    assert not slow.inline
    assert in_room(tmp_path, variants) == {("production", 0.6), ("canary", 0.75)}


def test_the_arm_of_a_key_is_the_same_after_a_restart(tmp_path: Path, production: OnnxModel, canary: OnnxModel) -> None:
    async def variants(room: Room) -> list[str]:
        room.serve(production, canary, percent=30)
        return [(await room.score(1, f"e{n}")).variant for n in range(100)]

    first, second = in_room(tmp_path / "first", variants), in_room(tmp_path / "second", variants)
    assert first == second == [choose_arm(Split(ROLLOUT_ID, b"salt", 30), f"e{n}") for n in range(100)]


def test_a_canary_s_answers_are_scored_by_production_too_off_the_path(
    tmp_path: Path, production: OnnxModel, canary: OnnxModel
) -> None:
    async def pairs(room: Room) -> tuple[Answer, list[SimpleNamespace]]:
        room.serve(production, canary)
        answer = await room.score(2)
        assert room.logged("paired") == []
        return answer, await paired(room, 1)

    answer, (pair,) = in_room(tmp_path, pairs)
    assert answer.variant == "canary"
    assert (pair.prediction_id, pair.rollout_id, pair.phase) == (answer.prediction_id, ROLLOUT_ID, "1")
    assert (float(pair.canary_score), pair.canary_decision) == (pytest.approx(0.05), "allow")
    assert (float(pair.production_score), pair.production_decision) == (pytest.approx(0.95), "block")
    assert float(pair.amount) == 2.0


def test_at_0_percent_the_canary_answers_nothing_and_scores_its_shadow(
    tmp_path: Path, production: OnnxModel, canary: OnnxModel
) -> None:
    async def pairs(room: Room) -> tuple[set[str], list[SimpleNamespace]]:
        room.serve(production, canary, percent=0, shadow=50)
        answers = [await room.score(2, f"e{n}") for n in range(200)]
        wanted = sum(choose_arm(Split(ROLLOUT_ID, b"shadow", 50), f"e{n}") == "canary" for n in range(200))
        return {a.variant for a in answers}, await paired(room, wanted)

    variants, rows = in_room(tmp_path, pairs)
    assert variants == {"production"}
    assert 60 < len(rows) < 140
    assert {(round(float(r.canary_score), 6), round(float(r.production_score), 6)) for r in rows} == {(0.05, 0.95)}


def test_a_pair_that_the_other_model_cannot_score_is_dropped_and_counted(
    tmp_path: Path, production: OnnxModel, canary: OnnxModel
) -> None:
    before = counted("sira_canary_paired_dropped_total", product="cards")

    async def answered(room: Room) -> str:
        room.serve(production, canary, percent=0, shadow=100)
        answer = await room.score(3)
        await asyncio.sleep(0.1)
        room.telemetry.publish()
        assert room.logged("paired") == []
        return answer.variant

    assert in_room(tmp_path, answered) == "production"
    assert counted("sira_canary_paired_dropped_total", product="cards") - before == 1


def test_the_fuse_takes_a_canary_that_always_fails_out_after_four_requests(
    tmp_path: Path, production: OnnxModel, canary: OnnxModel
) -> None:
    async def outcomes(room: Room) -> tuple[list[tuple[str, str]], list[SimpleNamespace]]:
        room.serve(production, canary)
        for n in range(10):
            await room.score(6, f"e{n}")
        return [(row.arm, row.outcome) for row in room.logged()], room.logged("trips")

    rows, (trip,) = in_room(tmp_path, outcomes)
    assert rows == [("canary", "canary_error")] * 4 + [("production", "ok")] * 6
    assert (trip.rollout_id, trip.process, trip.requests, trip.errors) == (ROLLOUT_ID, "tests/1", "4", "4")
    assert trip.production_failing == "False"


def test_a_tripped_fuse_leaves_the_next_rollout_its_chance(
    tmp_path: Path, production: OnnxModel, canary: OnnxModel
) -> None:
    retry = "11111111-2222-8333-8444-666666666666"

    async def variants(room: Room) -> list[str]:
        room.serve(production, canary)
        for n in range(5):
            await room.score(6, f"e{n}")
        out = await room.score(1, "out")
        room.serve(production, canary, rollout_id=retry)
        back = await room.score(1, "back")
        return [out.variant, back.variant]

    assert in_room(tmp_path, variants) == ["production", "canary"]


# ---------------------------------------------------------------- what production itself fails


@pytest.mark.parametrize(("amount", "outcome"), [(9, "error"), (2, "non_finite")])
def test_what_production_cannot_score_is_an_error_and_a_row_of_the_log(
    tmp_path: Path, amount: int, outcome: str
) -> None:
    model = loaded(tmp_path, table_model([0.1, 0.2, math.nan]))

    async def failed(room: Room) -> list[SimpleNamespace]:
        room.serve(model)
        for _ in range(2):
            with pytest.raises(ScoringFailed) as refused:
                await room.score(amount)
            assert refused.value.outcome == outcome
        return room.logged()

    rows = in_room(tmp_path, failed)
    assert [(row.score, row.decision, row.outcome) for row in rows] == [(None, None, outcome)] * 2
    assert len({row.prediction_id for row in rows}) == 2, "a failed try is no answer that a retry would repeat"


def test_one_event_that_a_model_chokes_on_fails_alone(tmp_path: Path) -> None:
    model = loaded(tmp_path, table_model([0.1, 0.2]))

    async def outcomes(room: Room) -> list[object]:
        room.serve(model)
        return await asyncio.gather(
            *(room.score(9 if n == 5 else 1, f"e{n}") for n in range(20)), return_exceptions=True
        )

    given = in_room(tmp_path, outcomes)
    assert [n for n, outcome in enumerate(given) if isinstance(outcome, ScoringFailed)] == [5]
    assert sum(isinstance(outcome, Answer) for outcome in given) == 19


def test_one_event_that_the_canary_chokes_on_counts_once_against_it(
    tmp_path: Path, production: OnnxModel, canary: OnnxModel
) -> None:
    async def outcomes(room: Room) -> list[str]:
        room.serve(production, canary)
        await asyncio.gather(*(room.score(6 if n == 5 else 1, f"e{n}") for n in range(20)))
        return sorted(row.outcome for row in room.logged())

    assert in_room(tmp_path, outcomes) == ["canary_error"] + ["ok"] * 19


def test_a_production_model_that_never_returns_fails_its_callers_in_time(tmp_path: Path) -> None:
    stuck = loaded(tmp_path, table_model([0.1, 0.2, 0.3], spins=[300, 300, 60_000]))
    quick = loaded(tmp_path, table_model([0.1, 0.6]), product="wallets")

    async def failed(room: Room) -> tuple[str, float, float]:
        room.serve(stuck)
        room.serve(quick)
        started = time.perf_counter()
        waiting = asyncio.ensure_future(room.score(2))
        beside = await room.score(1, product="wallets")
        assert time.perf_counter() - started < 0.3, "another product does not wait for it"
        with pytest.raises(ModelTimedOut) as refused:
            await waiting
        return refused.value.outcome, time.perf_counter() - started, beside.score

    outcome, seconds, score = in_room(tmp_path, failed, production_timeout_seconds=0.5)
    assert outcome == "timeout"
    assert 0.5 <= seconds < 1.5
    assert score == pytest.approx(0.6)


def test_a_full_spool_answers_nobody_rather_than_lose_a_row(tmp_path: Path, production: OnnxModel) -> None:
    async def refused(room: Room) -> int:
        room.serve(production)
        given = [await asyncio.gather(room.score(1, f"e{n}"), return_exceptions=True) for n in range(100)]
        answered = sum(isinstance(outcome, Answer) for (outcome,) in given)
        assert all(isinstance(outcome, Answer | SpoolFull) for (outcome,) in given)
        assert len(room.logged()) == answered
        return answered

    assert 10 < in_room(tmp_path, refused, spool_max_bytes=16 << 10) < 100


def test_while_the_breaker_has_tripped_blocks_are_answered_and_logged_as_reviews(
    tmp_path: Path, production: OnnxModel
) -> None:
    async def answers(room: Room) -> tuple[list[str], list[str], list[str]]:
        room.serve(production, breaker=True)
        given = [(await room.score(amount, f"tripped {amount}")).decision for amount in (0, 1, 2)]
        room.serve(production)
        given.append((await room.score(2, "lifted")).decision)
        room.telemetry.publish()
        rows = room.logged()
        return given, [row.decision for row in rows], [row.score for row in rows[2:]]

    before = counted("sira_decisions_downgraded_total", product="cards")
    given, logged, scores = in_room(tmp_path, answers)
    assert given == ["allow", "review", "review", "block"]
    assert logged == given
    assert scores[0] == scores[1]
    assert counted("sira_decisions_downgraded_total", product="cards") - before == 1


def test_the_breaker_makes_reviews_of_a_canary_s_blocks_but_its_pairs_keep_what_the_models_decided(
    tmp_path: Path, production: OnnxModel
) -> None:
    blocking = loaded(tmp_path, table_model([0.2, 0.95, 0.95, 0.95]), version="2")

    async def answers(room: Room) -> tuple[str, list[SimpleNamespace]]:
        room.serve(production, blocking, breaker=True)
        return (await room.score(1)).decision, await paired(room, 1)

    decision, pairs = in_room(tmp_path, answers)
    assert decision == "review"
    assert [(pair.canary_decision, pair.production_decision) for pair in pairs] == [("block", "review")]
