"""Registration over HTTP, with and without reference rows."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from edge import api
from edge.control.app import control_app
from edge.control.routes import Resources
from registry.artifacts import open_store
from runtime.auth import Authenticator, Role, mint_token
from runtime.settings import Settings
from tests.support.asgi import Answered, request

Register = Callable[..., Answered]
FIELDS = {
    "product": "cards",
    "name": "m",
    "version": "1",
    "features": "amount,age",
    "review": "0.5",
    "block": "0.9",
}
X = np.random.default_rng(2).normal(size=(60, 2)).astype(np.float32)
MODEL = LogisticRegression().fit(X, X[:, 0] > 0)
ONNX = to_onnx(MODEL, X[:1], options={"zipmap": False}).SerializeToString()
ROWS = pd.DataFrame(X, columns=["amount", "age"]).assign(score=MODEL.predict_proba(X)[:, 1])
CSV = ROWS.to_csv(index=False).encode()


def form(fields: dict[str, str], **files: tuple[str, bytes]) -> bytes:
    parts = [f'--cut\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    for name, (filename, content) in files.items():
        head = f'--cut\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join(parts) + b"--cut--\r\n"


@pytest.fixture
def post(settings: Callable[..., Settings], database_url: str) -> Register:
    """POST /v1/models with a form of fields and files, or with JSON; `required` demands reference rows."""
    read = settings()
    resources = Resources(database_url, open_store(read.model_bucket))
    token = mint_token(
        read.jwt_secret.get_secret_value(),
        subject="ops_ana",
        role=Role.ml_ops,
        now=datetime.now(UTC),
        lifetime=timedelta(hours=1),
    )

    def send(body: bytes, *, as_json: bool = False, required: bool = False) -> Answered:
        app = control_app(
            api.ROUTES, replace(resources, require_reference=required), Authenticator(read), lambda route, status: None
        )
        headers = {
            "authorization": f"Bearer {token}",
            "content-length": str(len(body)),
            "content-type": "application/json" if as_json else "multipart/form-data; boundary=cut",
        }
        return asyncio.run(request(app, "POST", "/v1/models", [body], headers))

    return send


def test_an_upload_with_reference_rows_is_checked_against_them(post: Register) -> None:
    answered = post(form(FIELDS, file=("m.onnx", ONNX), reference=("rows.csv", CSV)))
    assert answered.status == 201
    assert answered.json()["reference"]["rows"] == 60


def test_an_upload_without_them_says_that_there_are_none(post: Register) -> None:
    answered = post(form(FIELDS, file=("m.onnx", ONNX)))
    assert answered.status == 201
    assert answered.json()["reference"] is None


def test_reference_rows_that_are_required_are_missed_by_name(post: Register) -> None:
    answered = post(form(FIELDS, file=("m.onnx", ONNX)), required=True)
    assert answered.status == 422
    assert answered.json()["errors"][0]["pointer"] == "/reference_s3_key"


def test_differences_are_part_of_the_problem_document(post: Register) -> None:
    swapped = ROWS.assign(score=1 - ROWS.score).to_csv(index=False).encode()
    problem = post(form(FIELDS, file=("m.onnx", ONNX), reference=("rows.csv", swapped)))
    assert problem.status == 422
    differences = problem.json()["differences"]
    assert differences["rows"] == 60
    assert "the positive class is swapped" in differences["causes"][0]
    assert len(differences["worst"]) == 5


def test_reference_rows_can_be_named_in_the_store(post: Register, tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / "uploads"
    folder.mkdir(parents=True)
    (folder / "m.onnx").write_bytes(ONNX)
    ROWS.rename(columns={"score": "p"}).to_parquet(folder / "rows.parquet", index=False)
    body: dict[str, Any] = {
        **FIELDS,
        "features": ["amount", "age"],
        "review": 0.5,
        "block": 0.9,
        "storage_s3_key": "uploads/m.onnx",
        "reference_s3_key": "uploads/rows.parquet",
        "score_column": "p",
    }
    answered = post(json.dumps(body).encode(), as_json=True)
    assert answered.status == 201, answered.json()
    assert answered.json()["reference"]["max_difference"] < 1e-5


@pytest.mark.parametrize("filename", ["rows.xlsx", "rows"])
def test_a_reference_of_another_kind_is_refused(post: Register, filename: str) -> None:
    answered = post(form(FIELDS, file=("m.onnx", ONNX), reference=(filename, CSV)))
    assert answered.status == 422
    assert "a reference file ends in .csv, .jsonl or .parquet" in answered.json()["errors"][0]["detail"]


def test_a_tolerance_beyond_0_to_1_is_refused(post: Register) -> None:
    answered = post(form({**FIELDS, "tolerance": "2"}, file=("m.onnx", ONNX)))
    assert [error["pointer"] for error in answered.json()["errors"]] == ["/tolerance"]


CODES = [{"field": "amount", "direction": "raises", "at_least": 1, "code": "R07", "sentence": "a high amount"}]


def test_reason_codes_come_with_a_form_or_a_json_body_and_are_part_of_the_version(
    post: Register, tmp_path: Path
) -> None:
    answered = post(form({**FIELDS, "reason_codes": json.dumps(CODES)}, file=("m.onnx", ONNX)))
    assert answered.status == 201, answered.json()
    assert answered.json()["metadata"]["reasons"] == CODES
    (tmp_path / "artifacts" / "m.onnx").write_bytes(ONNX)
    body = {**FIELDS, "features": ["amount", "age"], "review": 0.5, "block": 0.9, "storage_s3_key": "m.onnx"}
    same = post(json.dumps({**body, "reason_codes": CODES}).encode(), as_json=True)
    assert same.status == 200, same.json()
    other = post(json.dumps({**body, "reason_codes": []}).encode(), as_json=True)
    assert other.status == 409
    assert "another reason_codes" in other.json()["detail"]


def test_every_fault_of_reason_codes_is_named(post: Register) -> None:
    unread = [{"field": "amount", "code": "R 7"}]
    answered = post(form({**FIELDS, "reason_codes": json.dumps(unread)}, file=("m.onnx", ONNX)))
    pointers = [error["pointer"] for error in answered.json()["errors"]]
    assert (answered.status, pointers) == (422, ["/reason_codes/0/code", "/reason_codes/0/sentence"])
    unknown = [{**CODES[0], "field": "amuont"}]
    answered = post(form({**FIELDS, "reason_codes": json.dumps(unknown)}, file=("m.onnx", ONNX)))
    assert answered.status == 422
    assert "did you mean amount?" in answered.json()["errors"][0]["detail"]
