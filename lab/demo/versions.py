"""The model versions of a demo run: the two demo models under another product, and two copies with a fault built in."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.demo.faulty_models import slow_above, throws_on_unknown
from lab.demo.recipes import PRODUCT, RECIPES
from lab.demo.seed import NAME
from lab.demo.transactions import CURRENCIES
from lab.versions import make_production
from registry.artifacts import ArtifactStore
from registry.model_version import ModelVersion
from registry.registration import Declaration, register
from registry.store import find_version
from runtime.postgres import Connection

DEMO_PRODUCT = "fraud_demo"
ACTOR = "make-demo"
REASON = "make demo"
EVENING_HOUR = 18.0
# About 10 ms of work on one core.
ROUNDS = 1_200


@dataclass(frozen=True)
class DemoVersions:
    """`production` serves; the others are staged."""

    production: ModelVersion
    good: ModelVersion
    throws: ModelVersion
    slow: ModelVersion


def register_demo_versions(connection: Connection, artifacts: ArtifactStore, label: str) -> DemoVersions:
    """Register the versions of this run; `label` distinguishes them from those of earlier runs.

    `connection` is in no transaction: inspecting a model takes seconds.
    """
    with tempfile.TemporaryDirectory(prefix="sira-demo-") as name:
        folder = Path(name)
        first, second = (fetch_demo_model(connection, artifacts, recipe.version) for recipe in RECIPES)
        contents = {
            "production": first,
            "good": second,
            "throws": throws_on_unknown(second, "USD", forget=CURRENCIES),
            "slow": slow_above(second, "hour", EVENING_HOUR, ROUNDS),
        }
        versions = {}
        for role, content in contents.items():
            path = folder / f"{role}.onnx"
            path.write_bytes(content)
            declaration = Declaration(DEMO_PRODUCT, role, label)
            versions[role] = register(connection, artifacts, path, declaration, actor=ACTOR, reason=REASON).version
    make_production(connection, versions["production"].model_id, actor=ACTOR, reason=REASON)
    return DemoVersions(**versions)


def fetch_demo_model(connection: Connection, artifacts: ArtifactStore, version: str) -> bytes:
    """Return the artifact of a version that `make run` registered."""
    with connection.transaction():
        found = find_version(connection, PRODUCT, NAME, version)
    assert found is not None, "make run registers it"
    with tempfile.TemporaryDirectory(prefix="sira-demo-") as folder:
        return artifacts.fetch(found.storage_s3_key, found.sha256, found.size_bytes, Path(folder)).read_bytes()
