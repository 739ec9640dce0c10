"""Files that others wrote are those that were published: each is listed with its licence and digest."""

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTS = [ROOT / "console/static/VENDORED.md", ROOT / "tests/support/axe/VENDORED.md"]
ROW = re.compile(r"^\| (\S+) \| [\w.-]+ [\d.]+ \| \S+ \((\S+)\) \| ([0-9a-f]{64}) \|$", re.MULTILINE)


@pytest.mark.parametrize("page", LISTS, ids=lambda page: page.parent.name)
def test_each_vendored_file_has_its_licence_beside_it_and_the_digest_that_is_listed(page: Path) -> None:
    rows = ROW.findall(page.read_text())
    assert {name for name, _, _ in rows} == {path.name for path in page.parent.glob("*.min.js")}
    for name, licence, digest in rows:
        assert hashlib.sha256((page.parent / name).read_bytes()).hexdigest() == digest
        assert (page.parent / licence).stat().st_size > 100
