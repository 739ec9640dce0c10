import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pure_files() -> list[str]:
    """The modules of the contract, and every module of its packages, as paths."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    modules = config["importlinter:contract:pure"]["source_modules"].split()
    files = [path for module in modules for path in _files(ROOT.joinpath(*module.split(".")))]
    return sorted(str(path.relative_to(ROOT)) for path in files)


def _files(module: Path) -> list[Path]:
    return sorted(module.rglob("*.py")) if module.is_dir() else [module.with_suffix(".py")]


@pytest.mark.parametrize("file", pure_files())
def test_a_pure_file_is_given_the_time_and_never_asks(file: str) -> None:
    calls = (node.func for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.Call))
    assert not {call.attr for call in calls if isinstance(call, ast.Attribute)} & {"now", "today", "utcnow"}
