"""lab/ is not in the image: nothing that ships may import it, not even inside a function."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
SHIPPED = [
    path
    for pattern in yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    for path in sorted(ROOT.glob(pattern.strip("/").replace("/**", "/**/*.py")))
]


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_shipped_file_imports_neither_lab_nor_tests(path: Path) -> None:
    assert not imported(path) & {"lab", "tests"}


def test_service_and_controller_are_among_the_shipped_files() -> None:
    assert {ROOT / "service.py", ROOT / "controller.py"} <= set(SHIPPED)
    assert len(SHIPPED) > 100
