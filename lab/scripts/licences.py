"""`python lab/scripts/licences.py`: write docs/licences.md, the licences of the packages in the image."""

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
    """Return the names of the packages, in the order of the lock."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE)


def licence(package: metadata.PackageMetadata) -> str:
    """Return the SPDX expression of a package, else its classifiers, else the first line of its licence text."""
    classifiers = [text.rpartition(" :: ")[2] for text in package.get_all("Classifier", []) if "License ::" in text]
    expression, text = ((package.get_all(name) or [""])[0] for name in ("License-Expression", "License"))
    stated = expression or ", ".join(classifiers) or text or "not said"
    return stated.strip().splitlines()[0]


def page() -> str:
    packages = [(name, metadata.metadata(name)) for name in locked()]
    return HEAD + "".join(f"| {name} | {found['Version']} | {licence(found)} |\n" for name, found in packages)


if __name__ == "__main__":
    PAGE.write_text(page())
