"""Score a logged event again, with the artifact that scored it: the proof that the stored score is the model's."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from registry.artifacts import ArtifactStore
from registry.model_session import RUNTIME_VERSION, ModelSession
from registry.model_version import ModelVersion
from scoring.log.prediction import payload_sha256
from scoring.log.store import StoredPrediction


@dataclass(frozen=True, slots=True)
class Recomputation:
    """`same`: the score equals the stored one to the last bit. `payload_intact`: the payload has its stored hash."""

    score: float
    stored: float
    payload_intact: bool
    runtime: str
    stored_runtime: str

    @property
    def same(self) -> bool:
        return self.score == self.stored

    @property
    def difference(self) -> float:
        return abs(self.score - self.stored)


def recompute(stored: StoredPrediction, version: ModelVersion, artifacts: ArtifactStore) -> Recomputation:
    """Fetch the artifact by its digest and score the logged payload. Raises ArtifactError, PayloadInvalid and more."""
    assert stored.score is not None
    with tempfile.TemporaryDirectory(prefix="sira-recompute-") as folder:
        path = artifacts.fetch(version.storage_s3_key, stored.artifact_sha256, version.size_bytes, Path(folder))
        session = ModelSession(version.signature, path)
    row = session.feed.row(msgspec.json.decode(stored.payload))
    score = float(session.score([row])[0])
    intact = payload_sha256(bytes(stored.payload)) == stored.payload_sha256
    return Recomputation(score, stored.score, intact, RUNTIME_VERSION, stored.runtime_version)
