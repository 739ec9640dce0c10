"""What becomes a version, what is refused and why, and that no model can hang or kill the process that asks."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry import audit, store
from registry.artifacts import ArtifactMissing, ArtifactStore, ArtifactTooLarge, open_store
from registry.inspection.parent import InspectionLimits, ModelRefused, inspect_model
from registry.model_version import Status, Thresholds
from registry.registration import Declaration, RegistrationRefused, register, register_stored
from runtime.postgres import Connection

Nodes = list[onnx.NodeProto]
DECLARATION = Declaration("fraud_score", "network", "1", review=0.5, block=0.9)
SIGMOID = [helper.make_node("Sigmoid", ["amount"], ["p"])]


def network(
    nodes: Nodes = SIGMOID,
    *,
    inputs: tuple[str, ...] = ("amount",),
    constants: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
) -> bytes:
    """A model that takes float columns and gives `p`, (n, 1)."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in inputs],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 10
    helper.set_model_props(model, {key: json.dumps(value) for key, value in (metadata or {}).items()})
    return model.SerializeToString()


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return open_store(f"file://{tmp_path / 'artifacts'}")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write_file(contents: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(contents)
        return path

    return write_file


Write = Callable[[bytes], Path]


def refusal(path: Path, limits: InspectionLimits | None = None) -> str:
    with pytest.raises(ModelRefused) as refused:
        inspect_model(path, limits=limits or InspectionLimits())
    (fault,) = refused.value.faults
    return fault


def test_a_checked_file_is_stored_and_becomes_a_version_in_staging(
    connection: Connection, artifacts: ArtifactStore, write: Write, tmp_path: Path
) -> None:
    path = write(network())
    sent: list[int] = []
    done = register(connection, artifacts, path, DECLARATION, actor="ops_john", reason="new", progress=sent.append)
    version = done.version
    assert (done.created, version.status, version.created_by) == (True, Status.STAGING, "ops_john")
    assert sum(sent) == version.size_bytes == path.stat().st_size
    assert version.thresholds == Thresholds(0.5, 0.9)
    fetched = artifacts.fetch(version.storage_s3_key, version.sha256, version.size_bytes, tmp_path / "models")
    assert fetched.read_bytes() == path.read_bytes()
    assert [(row.action, row.reason) for row in audit.history(connection)] == [("model.registered", "new")]


def test_registering_again_changes_nothing(connection: Connection, artifacts: ArtifactStore, write: Write) -> None:
    first = register(connection, artifacts, write(network()), DECLARATION, actor="tests")
    again = register(connection, artifacts, write(network()), DECLARATION, actor="tests")
    assert (again.created, again.version) == (False, first.version)


def test_registering_again_restores_a_lost_artifact(
    connection: Connection, artifacts: ArtifactStore, write: Write, tmp_path: Path
) -> None:
    version = register(connection, artifacts, write(network()), DECLARATION, actor="tests").version
    (tmp_path / "artifacts" / version.storage_s3_key).unlink()
    register(connection, artifacts, write(network()), DECLARATION, actor="tests")
    assert artifacts.fetch(version.storage_s3_key, version.sha256, version.size_bytes, tmp_path / "models").is_file()


def test_another_file_under_a_taken_name_is_refused_and_not_stored(
    connection: Connection, artifacts: ArtifactStore, write: Write, tmp_path: Path
) -> None:
    register(connection, artifacts, write(network()), DECLARATION, actor="tests")
    other = network(metadata={"sira.note": "another file"})
    with pytest.raises(store.VersionExists, match="another sha256; a version never changes"):
        register(connection, artifacts, write(other), DECLARATION, actor="tests")
    assert len(list((tmp_path / "artifacts" / "sha256").iterdir())) == 1


def test_an_artifact_that_lies_in_s3_is_registered_by_its_key(
    connection: Connection, artifacts: ArtifactStore, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "artifacts" / "uploads").mkdir(parents=True)
    (tmp_path / "artifacts" / "uploads" / "mine.onnx").write_bytes(network())
    stored = register_stored(connection, artifacts, "uploads/mine.onnx", DECLARATION, actor="tests")
    assert stored.version.storage_s3_key == f"sha256/{stored.version.sha256}.onnx"
    uploaded = register(connection, artifacts, write(network()), DECLARATION, actor="tests")
    assert (uploaded.created, uploaded.version) == (False, stored.version)


def test_a_key_that_is_not_there_or_too_large_is_refused(
    connection: Connection, artifacts: ArtifactStore, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactMissing):
        register_stored(connection, artifacts, "uploads/none.onnx", DECLARATION, actor="tests")
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "big.onnx").write_bytes(bytes(11))
    with pytest.raises(ArtifactTooLarge):
        register_stored(
            connection, artifacts, "big.onnx", DECLARATION, actor="tests", limits=InspectionLimits(max_bytes=10)
        )


def test_thresholds_come_from_the_model_and_are_overridden_one_by_one(
    connection: Connection, artifacts: ArtifactStore, write: Write
) -> None:
    path = write(network(metadata={"sira.thresholds": {"review": 0.3, "block": 0.7}}))
    plain = register(connection, artifacts, path, Declaration("fraud_score", "network", "1"), actor="tests")
    assert plain.version.thresholds == Thresholds(0.3, 0.7)
    declaration = Declaration("fraud_score", "network", "2", block=0.8)
    assert register(connection, artifacts, path, declaration, actor="tests").version.thresholds == Thresholds(0.3, 0.8)


@pytest.mark.parametrize(
    ("thresholds", "fault"),
    [
        ({"block": 0.9}, "no review: give it, or put sira.thresholds into the model"),
        ({"review": 0.9, "block": 0.5}, "review must not be above block"),
        ({"review": "high", "block": 2}, "review must be a number from 0 to 1; block must be a number from 0 to 1"),
        ([0.5, 0.9], 'sira.thresholds must be {"review": 0.5, "block": 0.9}'),
    ],
)
def test_thresholds_that_are_none_are_refused(
    connection: Connection, artifacts: ArtifactStore, write: Write, thresholds: object, fault: str
) -> None:
    path = write(network(metadata={"sira.thresholds": thresholds}))
    with pytest.raises(RegistrationRefused) as refused:
        register(connection, artifacts, path, Declaration("fraud_score", "network", "1"), actor="tests")
    assert "; ".join(refused.value.faults) == fault


def test_every_fault_of_a_registration_is_named_at_once(
    connection: Connection, artifacts: ArtifactStore, write: Write, tmp_path: Path
) -> None:
    declaration = Declaration("Fraud Score", "a/b", "", features=("a", "b"))
    with pytest.raises(RegistrationRefused) as refused:
        register(connection, artifacts, write(network()), declaration, actor="tests")
    assert [fault.split(" ")[0] for fault in refused.value.faults] == ["product", "name", "version", "2"]
    assert not (tmp_path / "artifacts").exists()
    assert store.list_versions(connection).total == 0


@pytest.mark.parametrize(
    ("contents", "fault"),
    [
        (b"", "not an ONNX model"),
        (b"PK\x03\x04 a zip file, say", "not an ONNX model"),
        (network()[:-20], "not an ONNX model"),
        (network([helper.make_node("Sigmoid", ["nothing"], ["p"])]), "onnxruntime does not load it"),
        (network([helper.make_node("Softmax", ["nothing"], ["p"])]), "onnxruntime does not load it"),
        (network([helper.make_node("Neg", ["amount"], ["p"])]), "not a probability"),
        (network([helper.make_node("Log", ["amount"], ["p"])]), "not a probability"),
        (
            network([helper.make_node("Concat", ["amount", "amount", "amount"], ["p"], axis=1)]),
            "no output is a binary classifier's probability",
        ),
        (
            network([helper.make_node("Softmax", ["amount"], ["p"], axis=0)]),
            "a row scores differently alone and beside others",
        ),
        (
            network([helper.make_node("RandomUniformLike", ["amount"], ["p"])]),
            "two runs of the same row give different scores (its graph contains RandomUniformLike)",
        ),
        (
            network([helper.make_node("MatMul", ["amount", "w"], ["p"])], constants={"w": np.ones((3, 1), np.float32)}),
            "onnxruntime does not load it",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_score_is_refused_with_the_reason(write: Write, contents: bytes, fault: str) -> None:
    assert fault in refusal(write(contents))


def test_a_model_that_cannot_score_a_missing_value_may_not_call_its_field_nullable(write: Write) -> None:
    nullable = {"sira.signature": {"fields": {"amount": {"nullable": True}}}}
    assert "not a probability" in refusal(write(network(metadata=nullable)))
    with_default = {"sira.signature": {"fields": {"amount": {"nullable": True, "default": 0}}}}
    assert inspect_model(write(network(metadata=with_default))).signature.fields[0].default == 0


def test_control_characters_of_a_file_reach_no_terminal_and_no_row(
    connection: Connection, artifacts: ArtifactStore, write: Write
) -> None:
    hostile = "\x1b[2Jamount\x00"
    named = network([helper.make_node("Sigmoid", [hostile], ["p"])], inputs=(hostile,))
    assert refusal(write(named)).isprintable()
    model = onnx.load_model_from_string(network())
    model.producer_name, model.producer_version = hostile, "1.0"
    done = register(connection, artifacts, write(model.SerializeToString()), DECLARATION, actor="tests")
    assert done.version.metadata["producer"] == "1.0"


def test_a_file_over_the_limit_is_not_even_opened(write: Write) -> None:
    assert "over the limit of 10 (ARTIFACT_MAX_BYTES)" in refusal(write(network()), InspectionLimits(max_bytes=10))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "none.onnx")


def endless() -> bytes:
    """A loop that would run for some thousand years."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Sigmoid", ["held"], ["kept"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("held", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("kept", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["times", "true", "amount"], ["p"], body=body)
    return network([loop], constants={"times": np.int64(2**62), "true": np.bool_(True)})


def test_a_model_that_never_ends_is_given_up(write: Write) -> None:
    started = time.monotonic()
    assert (
        refusal(write(endless()), InspectionLimits(max_cpu_seconds=2))
        == "takes longer than 2 s to load and score its probe rows"
    )
    assert time.monotonic() - started < 30


def test_ten_thousand_inputs_are_refused(write: Write) -> None:
    names = tuple(f"x{n}" for n in range(10_000))
    assert refusal(write(network([helper.make_node("Sigmoid", ["x0"], ["p"])], inputs=names))) == (
        "10000 inputs, not 1 to 2048"
    )


def test_a_constant_that_unfolds_to_a_hundred_gigabytes_is_refused(write: Write) -> None:
    """A kilobyte of file: onnxruntime folds constants when it loads a graph."""
    unfolding = [
        helper.make_node("Expand", ["one", "shape"], ["ones"]),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["amount", "sum"], ["p"]),
    ]
    constants = {"one": np.float32(1), "shape": np.array([160_000, 160_000], np.int64)}
    contents = network(unfolding, constants=constants)
    assert len(contents) < 1_000
    fault = refusal(write(contents))
    assert "onnxruntime does not load it" in fault or "does not score a plain row" in fault


def test_a_model_that_wants_all_memory_is_refused(write: Write) -> None:
    huge = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["amount", "sum"], ["p"]),
    ]
    fault = refusal(write(network(huge, constants={"shape": np.array([1 << 40], np.int64)})))
    assert "onnxruntime does not load it" in fault or "does not score a plain row" in fault


def test_weights_in_another_file_are_refused_before_anything_is_read(write: Write, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(network())
    secret = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    secret.ClearField("raw_data")
    secret.data_location = TensorProto.EXTERNAL
    secret.external_data.add(key="location", value="../../etc/passwd")
    model.graph.initializer.append(secret)
    assert "weights are in another file" in refusal(write(model.SerializeToString()))


def test_the_check_hands_no_secret_to_the_child(monkeypatch: pytest.MonkeyPatch, write: Write, tmp_path: Path) -> None:
    # Stands in for the interpreter: it tells what it was started with.
    teller = tmp_path / "teller"
    teller.write_text('#!/bin/sh\nenv > "$(dirname "$0")/environment"\nexit 3\n')
    teller.chmod(0o755)
    monkeypatch.setenv("JWT_SECRET", "the-secret")
    monkeypatch.setattr("sys.executable", str(teller))
    assert "exit code 3" in refusal(write(network()))
    assert "the-secret" not in (tmp_path / "environment").read_text()
