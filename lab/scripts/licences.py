"""python lab/scripts/licences.py: write docs/licences.md, the licences of all that the image holds."""

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements-image.lock"
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences of what the image holds

Written by `make licences` from what each package of `requirements-image.lock` says of itself. `make sbom` lists the
same packages with their hashes (CycloneDX). The LGPL of psycopg is met by installing it unchanged, as its own package.

| package | version | licence |
|---|---|---|
"""


def locked(lock: Path = LOCK) -> list[str]:
    """Names of the packages, in the lock's order."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE)


def licence(package: metadata.PackageMetadata) -> str:
    """Its SPDX expression; or else its classifiers, or the first line of what it says."""
    classifiers = [text.rpartition(" :: ")[2] for text in package.get_all("Classifier", []) if "License ::" in text]
    said = package.get("License-Expression") or ", ".join(classifiers) or package.get("License") or "not said"
    return said.strip().splitlines()[0]


def page() -> str:
    packages = [(name, metadata.metadata(name)) for name in locked()]
    return HEAD + "".join(f"| {name} | {said['Version']} | {licence(said)} |\n" for name, said in packages)


if __name__ == "__main__":
    PAGE.write_text(page())
