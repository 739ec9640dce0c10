"""The model and the payloads every contender scores, made once into benchmarks/.data."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PRODUCT = "fraud_score"
PAYLOADS = 60_000  # three times the service's default cache: a cycle through them never hits
TREES = 300
TRAINING_ROWS = 40_000
SEED = 113

TEXT_COLUMNS = {
    "currency": ("USD", "EUR", "GBP", "XOF", "NGN", "KES", "BRL", "INR"),
    "country": ("US", "FR", "GB", "SN", "NG", "KE", "BR", "IN", "CI", "DE"),
    "payment_method": ("card", "wallet", "bank_transfer", "mobile_money"),
    "merchant_category": ("grocery", "travel", "gaming", "electronics", "fuel", "fashion", "transfer", "other"),
}
NUMBER_COLUMNS = (
    "amount",
    "hour",
    "card_age_days",
    "attempts_last_hour",
    "amount_mean_30d",
    "distance_km",
    "merchant_risk",
    "customer_age_days",
)

Row = dict[str, str | float]


@dataclass(frozen=True)
class Workload:
    """`models` by variant: production is what every contender serves, canary a second one of the same size."""

    models: Mapping[str, Path]
    payloads: tuple[Row, ...]

    @property
    def model_path(self) -> Path:
        return self.models["production"]


def prepare(data: Path) -> Workload:
    """Trains on the first call (about ten seconds), reads the cache after."""
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    payloads_path = data / f"payloads-{PAYLOADS}.jsonl"
    models = {variant: data / f"{variant}-{TREES}.onnx" for variant in ("production", "canary")}
    for seed, path in enumerate(models.values(), SEED):
        if not path.exists():
            random = np.random.default_rng(seed)
            rows = _rows(random, TRAINING_ROWS)
            _write(path, _train(rows, _labels(random, rows)))
    if not payloads_path.exists():
        lines = (json.dumps(row, separators=(",", ":")) for row in _rows(np.random.default_rng(SEED + 9), PAYLOADS))
        _write(payloads_path, "\n".join(lines).encode())
    with payloads_path.open() as file:
        return Workload(models, tuple(json.loads(line) for line in file))


def _rows(random: np.random.Generator, count: int) -> list[Row]:
    columns: dict[str, list[str] | list[float]] = {
        name: random.choice(values, count).tolist() for name, values in TEXT_COLUMNS.items()
    }
    columns |= {
        "amount": random.lognormal(3.6, 1.2, count).round(2).tolist(),
        "hour": random.integers(0, 24, count).astype(float).tolist(),
        "card_age_days": random.exponential(400, count).round().tolist(),
        "attempts_last_hour": random.poisson(0.6, count).astype(float).tolist(),
        "amount_mean_30d": random.lognormal(3.4, 0.8, count).round(2).tolist(),
        "distance_km": random.exponential(120, count).round(1).tolist(),
        "merchant_risk": random.beta(2, 8, count).round(4).tolist(),
        "customer_age_days": random.exponential(700, count).round().tolist(),
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _labels(random: np.random.Generator, rows: list[Row]) -> np.ndarray:
    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows])

    log_odds = (
        -6.2
        + 0.9 * np.log1p(column("amount") / column("amount_mean_30d"))
        + 0.8 * column("attempts_last_hour")
        + 5.0 * column("merchant_risk")
        + 1.2 * (column("card_age_days") < 30)
        + 0.9 * (column("payment_method") == "card") * (column("country") == "BR")
        + 0.7 * (column("hour") < 6)
    )
    return np.asarray(random.random(len(rows)) < 1 / (1 + np.exp(-log_odds)), np.int64)


def _train(rows: list[Row], labels: np.ndarray) -> bytes:
    """LightGBM behind one-hot columns as ONNX: one named input per column, strings stay strings."""
    import lightgbm
    import pandas
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from skl2onnx import to_onnx, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pandas.DataFrame(rows)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    pipeline = Pipeline(
        [
            ("columns", ColumnTransformer([("text", one_hot, list(TEXT_COLUMNS))], remainder="passthrough")),
            ("trees", lightgbm.LGBMClassifier(n_estimators=TREES, random_state=SEED, n_jobs=1, verbose=-1)),
        ]
    ).fit(frame, labels)
    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        calculate_linear_classifier_output_shapes,
        convert_lightgbm,
        options={"zipmap": [True, False], "nocl": [True, False]},
    )
    inputs = [(name, StringTensorType([None, 1])) for name in TEXT_COLUMNS]
    inputs += [(name, FloatTensorType([None, 1])) for name in NUMBER_COLUMNS]
    graph = to_onnx(
        pipeline,
        initial_types=inputs,
        options={id(pipeline): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    metadata = graph.metadata_props.add()
    metadata.key, metadata.value = "sira.thresholds", json.dumps({"review": 0.5, "block": 0.9})
    return bytes(graph.SerializeToString())


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all: a half-written cache would be read as the truth next time."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
