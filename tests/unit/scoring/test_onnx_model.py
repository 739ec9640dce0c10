"""A model in memory: warm-up decides whether it may serve, and where it runs."""

import logging
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from registry.reference import Reference, ReferenceRow, ReferenceRows
from scoring.errors import ModelUnusable
from scoring.models.onnx_model import OnnxModel, ReferenceMismatch
from tests.support.table_model import loaded, table_model


def test_scores_come_back_a_row_each(tmp_path: Path) -> None:
    model = loaded(tmp_path, table_model([0.25, 0.5, 0.75]))
    assert model.score([(2.0,), (0.0,), (1.0,)]).tolist() == [0.75, 0.25, 0.5]


@pytest.mark.parametrize("warm_up", [[math.nan, 0.5], [0.5, 1.5], [-0.1, 0.5], [math.inf, 0.5], [0.5]])
def test_a_model_that_does_not_score_its_warm_up_rows_never_serves(tmp_path: Path, warm_up: list[float]) -> None:
    with pytest.raises(ModelUnusable):
        loaded(tmp_path, table_model(warm_up))


def test_a_file_that_is_no_model_never_serves(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable):
        loaded(tmp_path, b"not a model")


def test_a_row_that_a_model_raises_on_is_a_fact_of_the_run_and_spoils_no_other(tmp_path: Path) -> None:
    model = loaded(tmp_path, table_model([0.25, 0.5]))
    bad = {3, 4, 17, 63}
    run = model.run([(9.0,) if n in bad else (float(n % 2),) for n in range(64)])
    assert run.scores == [None if n in bad else (0.25, 0.5)[n % 2] for n in range(64)]
    assert not run.steady


def test_a_run_of_nothing_but_bad_rows_has_no_score(tmp_path: Path) -> None:
    assert loaded(tmp_path, table_model([0.25, 0.5])).run([(9.0,)] * 5).scores == [None] * 5


def test_what_a_model_choked_on_is_written_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = loaded(tmp_path, table_model([0.25, 0.5]))
    with caplog.at_level(logging.DEBUG):
        assert model.run([(4111.0,), (0.0,)]).scores == [None, 0.25]
    written = capfd.readouterr()
    assert "4111" not in written.out + written.err
    assert [record.getMessage() for record in caplog.records] == ["model_raised"]


def test_the_first_runs_after_a_load_are_no_measure_of_its_speed(tmp_path: Path) -> None:
    model = loaded(tmp_path, table_model([0.25, 0.5]))
    steady = [model.run([(0.0,)]).steady for _ in range(12)]
    assert steady == [False] * 10 + [True] * 2


def test_a_quick_model_runs_on_the_loop_and_a_slow_one_off_it(tmp_path: Path) -> None:
    assert loaded(tmp_path, table_model([0.25, 0.5])).inline
    assert not loaded(tmp_path, table_model([0.25, 0.5], spins=[400, 400])).inline


def test_a_model_that_turns_out_slow_leaves_the_loop_after_three_runs(tmp_path: Path) -> None:
    model = loaded(tmp_path, table_model([0.25, 0.5, 0.75], spins=[0, 0, 1_500]))
    assert model.inline
    model.run([(2.0,)])
    model.run([(0.0,)])
    assert model.inline, "one slow run alone may be the machine"
    for _ in range(3):
        model.run([(2.0,)])
    assert not model.inline


def test_the_runtime_reports_home_to_nobody() -> None:
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert os.environ["BENTOML_DO_NOT_TRACK"] == "True"


REFERENCE = Reference(
    key="k", sha256="0" * 64, size_bytes=1, rows=60, kept=60, labelled=0, tolerance=1e-4, max_difference=0.0
)


def kept(*scores: float) -> ReferenceRows:
    """Rows whose amounts are the places in a table model, with these expected scores."""
    return ReferenceRows(tuple(ReferenceRow({"amount": float(n)}, score) for n, score in enumerate(scores)))


def with_reference(folder: Path, *scores: float) -> OnnxModel:
    model = loaded(folder, table_model(scores))
    model.version = replace(model.version, reference=REFERENCE)
    return model


def test_a_model_that_scores_its_reference_rows_as_its_trainer_did_may_serve(tmp_path: Path) -> None:
    with_reference(tmp_path, 0.25, 0.5, 0.75).check_reference(kept(0.25, 0.50009, 0.75))


@pytest.mark.parametrize("served", [0.5002, math.nan, 1.5])
def test_a_model_that_scores_a_reference_row_otherwise_never_serves(tmp_path: Path, served: float) -> None:
    model = with_reference(tmp_path, 0.25, 0.75, served)
    with pytest.raises(ReferenceMismatch, match=r"1 of 3 reference rows differ .* on onnxruntime") as refused:
        model.check_reference(kept(0.25, 0.75, 0.5))
    assert "0.5" not in str(refused.value)
