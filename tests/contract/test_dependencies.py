"""What the image holds is listed: by name with its licence, and in a bill of materials with its hashes."""

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# Of what is linked into a service they would bind the service's own source. LGPL does not.
BINDING = re.compile(r"\b(A?GPL|GNU (Affero )?General Public|SSPL|not said)", re.IGNORECASE)


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", ROOT / "lab" / "scripts" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_licences_is_what_the_packages_say(licences: ModuleType) -> None:
    assert licences.page() == licences.PAGE.read_text()


def test_no_licence_binds_our_own_source(licences: ModuleType) -> None:
    assert not [line for line in licences.page().splitlines() if BINDING.search(line)]


@pytest.mark.parametrize(
    ("said", "binds"),
    [("GPL-3.0-only", True), ("AGPL-3.0", True), ("not said", True), ("LGPL-3.0-only", False), ("MIT", False)],
)
def test_licences_that_bind_are_distinguished_from_those_that_do_not(said: str, binds: bool) -> None:
    assert bool(BINDING.search(f"| package | 1 | {said} |")) is binds


def test_the_bill_of_materials_names_every_package_with_its_hashes(licences: ModuleType, tmp_path: Path) -> None:
    (command,) = re.findall(r"^\t(.*cyclonedx-py .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    written = tmp_path / "sbom.json"
    words = command.replace("dist/sbom.json", str(written)).split()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True)
    bill = json.loads(written.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert [part["name"] for part in bill["components"]] == licences.locked()
    assert all(part["externalReferences"][0]["hashes"] for part in bill["components"])
