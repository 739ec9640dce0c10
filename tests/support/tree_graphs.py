"""ONNX graphs of random trees, with whatever operators, branch modes and missing-value tracks a test asks for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ML = "ai.onnx.ml"
MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ", "MEMBER")
# Few values, so that equality is met as often as an inequality; whole, as onnxruntime wants the members of sets.
VALUES = tuple(np.arange(-4.0, 5.0))


class Trees:
    """Random trees over `fields` columns, as lists that both kinds of operators are made from."""

    def __init__(self, rng: np.random.Generator, *, trees: int, depth: int, fields: int, modes: Sequence[str]) -> None:
        self.rng = rng
        self.fields = fields
        self.modes = modes
        self.nodes: list[dict[str, Any]] = []
        self.leaves: list[float] = []
        self.roots = [self._grow(depth) for _ in range(trees)]

    def _grow(self, depth: int) -> tuple[str, int]:
        if depth == 0 or self.rng.random() < 0.1:
            self.leaves.append(float(np.float32(self.rng.normal() / 4)))
            return "leaf", len(self.leaves) - 1
        place = len(self.nodes)
        node: dict[str, Any] = {
            "column": int(self.rng.integers(self.fields)),
            "mode": str(self.rng.choice(list(self.modes))),
            "value": float(self.rng.choice(VALUES)),
            "missing": bool(self.rng.integers(2)),
        }
        self.nodes.append(node)
        if node["mode"] == "MEMBER":
            node["members"] = sorted(self.rng.choice(VALUES, size=3, replace=False).tolist())
        node["true"], node["false"] = self._grow(depth - 1), self._grow(depth - 1)
        return "node", place

    def flat(self, given: str, put: str, *, tracks: bool, aggregate: int = 1) -> onnx.NodeProto:
        """As one TreeEnsemble of ai.onnx.ml 5: every tree needs at least one inner node."""
        floats = TensorProto.FLOAT
        members = [v for n in self.nodes if n["mode"] == "MEMBER" for v in (*n["members"], float("nan"))]
        attributes: dict[str, Any] = {
            "nodes_featureids": [n["column"] for n in self.nodes],
            "nodes_splits": helper.make_tensor("s", floats, [len(self.nodes)], [n["value"] for n in self.nodes]),
            "nodes_modes": helper.make_tensor(
                "m", TensorProto.UINT8, [len(self.nodes)], [MODES.index(n["mode"]) for n in self.nodes]
            ),
            "leaf_targetids": [0] * len(self.leaves),
            "leaf_weights": helper.make_tensor("w", floats, [len(self.leaves)], self.leaves),
            "tree_roots": [place for _, place in self.roots],
            "n_targets": 1,
            "aggregate_function": aggregate,
            "post_transform": 0,
        }
        for branch in ("true", "false"):
            attributes[f"nodes_{branch}nodeids"] = [n[branch][1] for n in self.nodes]
            attributes[f"nodes_{branch}leafs"] = [int(n[branch][0] == "leaf") for n in self.nodes]
        if members:
            attributes["membership_values"] = helper.make_tensor("v", floats, [len(members)], members)
        if tracks:
            attributes["nodes_missing_value_tracks_true"] = [int(n["missing"]) for n in self.nodes]
        return helper.make_node("TreeEnsemble", [given], [put], domain=ML, **attributes)

    def keyed(self, given: str, put: str, *, tracks: bool, base: float | None = None, **more: Any) -> onnx.NodeProto:
        """As a TreeEnsembleRegressor, whose leaves are nodes too."""
        columns: dict[str, list[Any]] = {name: [] for name in _KEYED}
        targets: dict[str, list[Any]] = {"target_treeids": [], "target_nodeids": [], "target_weights": []}
        for tree, root in enumerate(self.roots):
            self._write(tree, root, columns, targets)
        attributes: dict[str, Any] = {f"nodes_{name}": values for name, values in columns.items()} | targets
        if not tracks:
            del attributes["nodes_missing_value_tracks_true"]
        if base is not None:
            attributes["base_values"] = [base]
        return helper.make_node(
            "TreeEnsembleRegressor",
            [given],
            [put],
            domain=ML,
            n_targets=1,
            target_ids=[0] * len(targets["target_weights"]),
            **attributes,
            **more,
        )

    def _write(self, tree: int, ref: tuple[str, int], columns: dict[str, Any], targets: dict[str, Any]) -> int:
        kind, place = ref
        number = sum(1 for t in columns["treeids"] if t == tree)
        node: dict[str, Any] = (
            self.nodes[place] if kind == "node" else {"column": 0, "mode": "", "value": 0.0, "missing": False}
        )
        row = [tree, number, node["column"], node["value"], 0, 0, int(node["missing"])]
        row.append(f"BRANCH_{node['mode']}" if kind == "node" else "LEAF")
        at = len(columns["treeids"])
        for name, value in zip(_KEYED, row, strict=True):
            columns[name].append(value)
        if kind == "leaf":
            targets["target_treeids"].append(tree)
            targets["target_nodeids"].append(number)
            targets["target_weights"].append(self.leaves[place])
            return number
        columns["truenodeids"][at] = self._write(tree, node["true"], columns, targets)
        columns["falsenodeids"][at] = self._write(tree, node["false"], columns, targets)
        return number


_KEYED = (
    "treeids", "nodeids", "featureids", "values", "truenodeids", "falsenodeids", "missing_value_tracks_true", "modes",
)  # fmt: skip


def graph(
    nodes: Sequence[onnx.NodeProto],
    fields: int,
    *,
    output: str = "p",
    constants: dict[str, Any] | None = None,
    version: int = 3,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model of one tensor `x` of so many columns; `version` is that of ai.onnx.ml."""
    made = helper.make_model(
        helper.make_graph(
            list(nodes),
            "trees",
            [helper.make_tensor_value_info("x", kind, ["n", fields])],
            [onnx.ValueInfoProto(name=output)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(ML, version)],
        ir_version=10,
    )
    return made
