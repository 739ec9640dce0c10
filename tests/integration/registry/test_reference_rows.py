"""Reference rows: models whose serving scores are not their trainer's are refused with the cause."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType as OnnxmlFloats
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from registry.artifacts import ArtifactStore, open_store
from registry.inspection.parent import ReferenceRequest
from registry.model_version import ModelVersion
from registry.recheck import check_version
from registry.reference import REFERENCE_SUFFIX, ReferenceRows
from registry.registration import Declaration, RegistrationRefused, register
from runtime.postgres import Connection

NAMES = ["amount", "age", "hour"]
Frame = pd.DataFrame
Register = Callable[..., ModelVersion]


def payments(rows: int = 400, *, blank: float = 0.0, zero: float = 0.0) -> tuple[Frame, "np.ndarray[Any, Any]"]:
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1, rows).astype(np.float32),
            "age": rng.integers(1, 90, rows).astype(np.float32),
            "hour": rng.integers(0, 24, rows).astype(np.float32),
        }
    )
    fraud = (rng.random(rows) < 1 / (1 + np.exp(3 - 0.02 * frame.amount - 0.1 * (frame.hour < 6)))).to_numpy()
    frame.loc[rng.random(rows) < blank, "age"] = np.nan
    frame.loc[rng.random(rows) < zero, "amount"] = 0.0
    return frame, fraud.astype(int)


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return open_store((tmp_path / "artifacts").as_uri())


@pytest.fixture
def register_model(connection: Connection, artifacts: ArtifactStore, tmp_path: Path) -> Register:
    """Register an ONNX model with a frame of reference rows."""

    def make(
        model: onnx.ModelProto, rows: Frame, *, suffix: str = ".parquet", tolerance: float = 1e-4, **declared: Any
    ) -> ModelVersion:
        path, reference = tmp_path / "model.onnx", tmp_path / f"rows{suffix}"
        path.write_bytes(model.SerializeToString())
        if suffix == ".csv":
            rows.to_csv(reference, index=False)
        else:
            rows.to_parquet(reference, index=False)
        declaration = Declaration("cards", "m", "1", **{"review": 0.5, "block": 0.9, **declared})
        request = ReferenceRequest(str(reference), tolerance=tolerance)
        return register(connection, artifacts, path, declaration, actor="tests", reference=request).version

    return make


def refused(register_model: Register, *given: Any, **options: Any) -> RegistrationRefused:
    with pytest.raises(RegistrationRefused) as refusal:
        register_model(*given, **options)
    return refusal.value


def tensor(model: Any, **options: Any) -> onnx.ModelProto:
    return to_onnx(model, initial_types=[("X", FloatTensorType([None, 3]))], options={"zipmap": False}, **options)


def scored(frame: Frame, model: Any, given: Any = None) -> Frame:
    return frame.assign(score=model.predict_proba(frame.to_numpy() if given is None else given)[:, 1])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_model_that_scores_as_its_trainer_did_keeps_its_rows(
    register_model: Register, artifacts: ArtifactStore, tmp_path: Path, suffix: str
) -> None:
    frame, fraud = payments()
    model = RandomForestClassifier(20, random_state=0).fit(frame.to_numpy(), fraud)
    rows = scored(frame, model).assign(label=fraud)
    version = register_model(tensor(model), rows, suffix=suffix, features=tuple(NAMES))
    reference = version.reference
    assert reference is not None
    assert (reference.rows, reference.kept, reference.labelled) == (400, 400, 400)
    assert reference.max_difference < 1e-6
    stored = artifacts.fetch(reference.key, reference.sha256, reference.size_bytes, tmp_path, suffix=REFERENCE_SUFFIX)
    kept = ReferenceRows.from_bytes(stored.read_bytes()).rows
    assert kept[0].payload == {name: pytest.approx(float(frame.loc[0, name])) for name in NAMES}
    assert kept[0].label == bool(fraud[0])


def test_zero_as_missing_that_the_converter_dropped_is_refused_with_its_cause(register_model: Register) -> None:
    frame, fraud = payments(zero=0.4)
    data = lightgbm.Dataset(frame.to_numpy(), fraud)
    booster = lightgbm.train(
        {"objective": "binary", "zero_as_missing": True, "verbosity": -1, "num_leaves": 7, "min_data_in_leaf": 5},
        data,
        20,
    )
    onnx_model = convert_lightgbm(booster, initial_types=[("X", OnnxmlFloats([None, 3]))], zipmap=False)
    rows = frame.assign(score=booster.predict(frame.to_numpy()))
    refusal = refused(register_model, onnx_model, rows, features=tuple(NAMES), nullable="all")
    assert refusal.differences is not None
    assert refusal.differences.differing > 0
    assert "zero is taken as missing (amount" in refusal.differences.causes[0]


def test_a_swapped_positive_class_is_refused_with_its_cause(register_model: Register) -> None:
    frame, fraud = payments()
    model = GradientBoostingClassifier(n_estimators=10).fit(frame.to_numpy(), fraud)
    refusal = refused(register_model, tensor(model), scored(frame, model), features=tuple(NAMES), positive="0")
    assert "the positive class is swapped" in str(refusal)


def test_expected_margins_are_refused_with_their_cause(register_model: Register) -> None:
    frame, fraud = payments()
    model = GradientBoostingClassifier(n_estimators=10).fit(frame.to_numpy(), fraud)
    rows = frame.assign(score=model.decision_function(frame.to_numpy()))
    assert "raw margins (log odds)" in str(refused(register_model, tensor(model), rows, features=tuple(NAMES)))


def test_a_unit_that_differs_is_refused_with_its_cause(register_model: Register) -> None:
    frame, fraud = payments()
    model = LogisticRegression(max_iter=1000).fit(frame.to_numpy(), fraud)
    rows = scored(frame, model).assign(amount=frame.amount * 100)
    refusal = refused(register_model, tensor(model), rows, features=tuple(NAMES))
    assert "amount is multiplied by 0.01" in str(refusal)


def test_a_float32_step_is_reported_and_accepted_with_a_tolerance(register_model: Register) -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(3000, 3)), columns=NAMES)  # doubles, which float32 rounds
    fraud = (rng.random(3000) < 1 / (1 + np.exp(-2 * frame.amount))).astype(int)
    model = CalibratedClassifierCV(GradientBoostingClassifier(n_estimators=30, max_depth=4), method="isotonic").fit(
        frame.to_numpy(), fraud
    )
    rows = scored(frame, model)
    onnx_model = tensor(model)
    refusal = refused(register_model, onnx_model, rows, features=tuple(NAMES), tolerance=1e-9)
    assert refusal.differences is not None
    version = register_model(onnx_model, rows, features=tuple(NAMES), tolerance=0.5)
    assert version.reference is not None
    assert version.reference.tolerance == 0.5


def test_blanks_make_a_field_nullable(register_model: Register) -> None:
    frame, fraud = payments(blank=0.3)
    model = lightgbm.LGBMClassifier(n_estimators=10, verbosity=-1).fit(frame.to_numpy(), fraud)
    onnx_model = convert_lightgbm(model, initial_types=[("X", OnnxmlFloats([None, 3]))], zipmap=False)
    version = register_model(onnx_model, scored(frame, model), features=tuple(NAMES))
    assert [field.nullable for field in version.signature.fields] == [False, True, False]


def test_the_original_headers_name_the_fields_that_a_converter_renamed(register_model: Register) -> None:
    frame, fraud = payments()
    frame.columns = ["Amount (EUR)", "âge", "hour"]
    model = make_pipeline(
        ColumnTransformer([("all", "passthrough", list(frame.columns))]), LogisticRegression(max_iter=1000)
    ).fit(frame, fraud)
    onnx_model = to_onnx(model, frame[:1], options={"zipmap": False})
    version = register_model(onnx_model, scored(frame, model, frame))
    assert [field.name for field in version.signature.fields] == ["Amount (EUR)", "âge", "hour"]


def test_a_field_without_a_column_is_named_with_the_columns_left_over(register_model: Register) -> None:
    frame, fraud = payments()
    model = LogisticRegression(max_iter=1000).fit(frame.to_numpy(), fraud)
    rows = scored(frame, model).rename(columns={"age": "years"})
    refusal = refused(register_model, tensor(model), rows, features=tuple(NAMES))
    assert "no column for the fields age; columns that no field is named after: years" in str(refusal)


def test_the_kept_rows_pass_again_on_this_runtime(
    register_model: Register, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    frame, fraud = payments()
    model = GradientBoostingClassifier(n_estimators=10).fit(frame.to_numpy(), fraud)
    version = register_model(tensor(model), scored(frame, model), features=tuple(NAMES))
    checked = check_version(version, artifacts, tmp_path / "fetched")
    assert (checked.result, checked.rows) == ("passed", 400)


def test_the_same_rows_again_are_the_same_version_and_others_are_not(register_model: Register) -> None:
    frame, fraud = payments()
    model = GradientBoostingClassifier(n_estimators=10).fit(frame.to_numpy(), fraud)
    rows = scored(frame, model)
    first = register_model(tensor(model), rows, features=tuple(NAMES))
    assert register_model(tensor(model), rows, features=tuple(NAMES)) == first
    with pytest.raises(Exception, match=r"already registered as .* with another reference"):
        register_model(tensor(model), rows[:200], features=tuple(NAMES))
