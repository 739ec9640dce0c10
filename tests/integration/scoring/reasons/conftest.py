"""A registered model of a real training library, its logged predictions, and the API that explains them."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from edge import api
from edge.control.app import control_app
from edge.control.routes import Resources
from registry import store
from registry.artifacts import ArtifactStore
from registry.inspection.parent import ReferenceRequest
from registry.model_session import ModelSession
from registry.model_version import ModelVersion, Status
from registry.registration import Declaration, register
from runtime.auth import Authenticator, Role, mint_token
from runtime.postgres import Connection
from runtime.settings import Settings
from scoring.decision import decide
from scoring.log.prediction import Prediction
from tests.support.asgi import Answered, request
from tests.support.log_rows import prediction, ship_rows
from tests.support.trained_models import SERVED_MODELS, Trained

Log = Callable[..., list[Prediction]]
Ask = Callable[..., Answered]


@pytest.fixture(scope="session")
def trained() -> Trained:
    return SERVED_MODELS["gradient boosting"]()


@pytest.fixture
def add_version(
    connection: Connection, artifacts: ArtifactStore, tmp_path: Path, trained: Trained
) -> Callable[..., ModelVersion]:
    """`add_version(reference=True)`: a production version of product cards."""

    def add(
        version: str = "1", *, model: Trained = trained, reference: bool = False, staged: bool = False, **more: Any
    ) -> ModelVersion:
        path, rows = tmp_path / f"{version}.onnx", tmp_path / "rows.jsonl"
        path.write_bytes(model.model.SerializeToString())
        lines = [json.dumps({**p, "score": float(s)}) for p, s in zip(model.payloads, model.expected, strict=True)]
        rows.write_text("\n".join(lines))
        declaration = Declaration("cards", "m", version, review=0.5, block=0.9, **model.declared, **more)
        request = ReferenceRequest(str(rows)) if reference else None
        made = register(connection, artifacts, path, declaration, actor="tests", reference=request).version
        if staged:
            return made
        with connection.transaction():
            return store.change_status(connection, made.model_id, Status.PRODUCTION, actor="tests").version

    return add


@pytest.fixture
def log(database_url: str, trained: Trained, tmp_path: Path) -> Log:
    """`log(version, 5)`: the rows of five events, scored by the version and shipped."""

    def add(version: ModelVersion, count: int, first: int = 0) -> list[Prediction]:
        session = ModelSession(version.signature, trained.model.SerializeToString())
        payloads = trained.payloads[first : first + count]
        scores = session.score([session.feed.row(payload) for payload in payloads]).tolist()
        rows = [
            prediction(
                str(uuid4()),
                payload=json.dumps(payload, sort_keys=True, separators=(",", ":")),
                model_id=version.model_id,
                artifact_sha256=version.sha256,
                score=score,
                decision=decide(score, version.thresholds),
            )
            for payload, score in zip(payloads, scores, strict=True)
        ]
        ship_rows(database_url, rows)
        return rows

    return add


@pytest.fixture
def ask(settings: Callable[..., Settings], database_url: str, artifacts: ArtifactStore) -> Ask:
    """`ask(prediction_id)`: GET its reasons, as an auditor. Each call is another process."""
    read = settings()

    def get(prediction_id: str, *, rows: int = 128) -> Answered:
        resources = Resources(database_url, artifacts, background_rows=rows)
        app = control_app(api.ROUTES, resources, Authenticator(read), lambda route, status: None)
        token = mint_token(
            read.jwt_secret.get_secret_value(),
            subject="amina",
            role=Role.auditor,
            now=datetime.now(UTC),
            lifetime=timedelta(hours=1),
        )
        path = f"/v1/predictions/{prediction_id}/reasons"
        return asyncio.run(request(app, "GET", path, headers={"authorization": f"Bearer {token}"}))

    return get
