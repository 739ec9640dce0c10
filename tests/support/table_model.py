"""ONNX models that do as a table says: what a test needs of a model, from a real graph in a real runtime."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from registry.model_version import ModelVersion, Status, Thresholds
from registry.signature import Field, Signature
from scoring.models.onnx_model import OnnxModel

THRESHOLDS = Thresholds(review=0.5, block=0.9)
SIGNATURE = Signature("columns", (Field("amount", "float"),), "score", "probability")
_SPIN = np.eye(128, dtype=np.float32)


def table_model(scores: Sequence[float], *, spins: Sequence[int] = ()) -> bytes:
    """A graph that answers `scores[amount]`, and raises for an amount past the table.

    Warm-up asks for amounts 0 and 1. `spins[amount]` matrix products are made first, of about 0.04 ms each.
    """
    nodes = [
        helper.make_node("Cast", ["amount"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["wide", "flat"], ["index"]),
        helper.make_node("Gather", ["table", "index"], ["found" if spins else "score"]),
    ]
    constants = {"flat": np.array([-1], np.int64), "table": np.array(scores, np.float32)}
    if spins:
        nodes += _spinning()
        constants |= {"spins": np.array(spins, np.int64), "matrix": _SPIN, "nothing": np.float32(0)}
    graph = helper.make_graph(
        nodes,
        "table",
        [helper.make_tensor_value_info("amount", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(made, {"sira.thresholds": '{"review": 0.5, "block": 0.9}'})
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _spinning() -> list[onnx.NodeProto]:
    tensor = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("MatMul", ["before", "matrix"], ["after"]),
        ],
        "spin",
        [
            tensor("round", TensorProto.INT64, []),
            tensor("going", TensorProto.BOOL, []),
            tensor("before", TensorProto.FLOAT, None),
        ],
        [tensor("still_going", TensorProto.BOOL, []), tensor("after", TensorProto.FLOAT, None)],
    )
    return [
        helper.make_node("Gather", ["spins", "index"], ["wanted"]),
        helper.make_node("ReduceMax", ["wanted"], ["rounds"], keepdims=0),
        helper.make_node("Loop", ["rounds", "", "matrix"], ["spun"], body=body),
        helper.make_node("ReduceMax", ["spun"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "nothing"], ["zero"]),
        helper.make_node("Add", ["found", "zero"], ["score"]),
    ]


def version_of(artifact: bytes, *, product: str = "cards", version: str = "1") -> ModelVersion:
    """A row as the registry would give it for a table model."""
    now, digest = datetime.now(UTC), sha256(artifact).hexdigest()
    return ModelVersion(
        model_id=str(uuid4()),
        product=product,
        name="table",
        version=version,
        status=Status.PRODUCTION,
        storage_s3_key=f"sha256/{digest}.onnx",
        sha256=digest,
        size_bytes=len(artifact),
        signature=SIGNATURE,
        thresholds=THRESHOLDS,
        metadata={},
        created_at=now,
        created_by="tests",
        updated_at=now,
    )


def loaded(folder: Path, artifact: bytes, *, product: str = "cards", version: str = "1") -> OnnxModel:
    """The model, written to `folder` and opened."""
    row = version_of(artifact, product=product, version=version)
    path = folder / f"{row.model_id}.onnx"
    path.write_bytes(artifact)
    return OnnxModel(row, path)
