"""A class name of the product means one thing."""

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shipped() -> list[str]:
    """Every Python file of the product: not tests, and not lab."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split() if name.split("/")[0] not in ("lab", "tests")]


def type_names(tree: ast.Module) -> Iterator[str]:
    """Yield the public classes and type aliases of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not isinstance(node.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (one.id for one in targets if isinstance(one, ast.Name) and _is_camel_case(one.id))


def _is_camel_case(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


def test_no_class_name_means_two_things() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in shipped():
        for name in type_names(ast.parse((ROOT / file).read_text())):
            places[name].append(file)
    twice = {name: files for name, files in places.items() if len(files) > 1 and not name.startswith("_")}
    assert not twice
