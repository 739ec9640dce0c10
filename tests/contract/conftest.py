"""The deployed files as data, and the monitoring rules as promtool reads them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
MONITORING = REPOSITORY / "k8s" / "monitoring"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def base_manifests() -> list[dict[str, Any]]:
    """Every document that the base's kustomization lists."""
    base = REPOSITORY / "k8s" / "base"
    listed = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    return [document for name in listed for document in yaml.safe_load_all((base / name).read_text())]


@pytest.fixture(scope="session")
def rules_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `spec` of each PrometheusRule as a rule file, with promtool's tests beside them."""
    folder = tmp_path_factory.mktemp("rules")
    for name in ("recording-rules.yaml", "alerts.yaml"):
        rule = yaml.safe_load((MONITORING / name).read_text())
        (folder / name).write_text(yaml.safe_dump(rule["spec"], sort_keys=False))
    for tests in (MONITORING / "tests").glob("*.test.yaml"):
        shutil.copy(tests, folder)
    return folder
