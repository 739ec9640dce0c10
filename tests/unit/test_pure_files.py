import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pure_modules() -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter")
    return config["importlinter:contract:pure"]["source_modules"].split()


@pytest.mark.parametrize("module", pure_modules())
def test_a_pure_file_is_told_the_time_and_never_asks(module: str) -> None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    assert not {call.attr for call in calls if isinstance(call, ast.Attribute)} & {"now", "today", "utcnow"}
