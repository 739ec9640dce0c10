"""A name of the product means one thing."""

import ast
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("canary", "edge", "migrations", "registry", "runtime", "scoring")


def public_classes() -> dict[str, set[str]]:
    """Where each class, struct and type alias that others may import is defined."""
    found: dict[str, set[str]] = defaultdict(set)
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in (name for name in listed.split() if name.endswith(".py")):
        for node in ast.parse((ROOT / name).read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].add(name)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                found |= {
                    t.id: found[t.id] | {name} for t in node.targets if isinstance(t, ast.Name) and _is_type(t.id)
                }
    return {name: places for name, places in found.items() if not name.startswith("_")}


def _is_type(name: str) -> bool:
    return name[0].isupper() and not name.isupper()


# Settled in the rooms that are listed with them; nothing may be added.
REMAINING = {"State"}


def test_no_class_name_means_two_things() -> None:
    twice = {name: sorted(places) for name, places in public_classes().items() if len(places) > 1}
    assert twice.keys() <= REMAINING, twice
