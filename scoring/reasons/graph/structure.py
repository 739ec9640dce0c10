"""Operators that only move columns about, or that make several columns of one."""

import numpy as np

from scoring.reasons.graph.node_call import NodeCall, elements
from scoring.reasons.graph.symbols import Symbolic, columns, is_symbolic, owners_of


def same(call: NodeCall) -> Symbolic | None:
    return call.inputs[0]


def cast(call: NodeCall) -> Symbolic | None:
    value = call.inputs[0]
    if not is_symbolic(value) or not call.is_floating():
        return None
    source = np.asarray(call.probe[call.node.input[0]])
    return value if source.dtype.kind in "biuf" else None


def reshape(call: NodeCall) -> Symbolic | None:
    value = call.inputs[0]
    shape = call.shape()
    return value.reshape(shape) if value.size == np.prod(shape) else None


def transpose(call: NodeCall) -> Symbolic | None:
    return np.transpose(call.inputs[0], call.attributes.get("perm"))


def concat(call: NodeCall) -> Symbolic | None:
    values = [elements(value) if value.dtype.kind in "biufO" else None for value in call.inputs]
    if any(value is None for value in values):
        return None
    return np.concatenate(values, axis=call.attributes.get("axis", -1))  # type: ignore[arg-type]


def gather(call: NodeCall) -> Symbolic | None:
    value, chosen = call.inputs
    if is_symbolic(chosen):
        return None
    return np.take(value, chosen.astype(np.int64), axis=call.attributes.get("axis", 0))


def extract(call: NodeCall) -> Symbolic | None:
    value, chosen = call.inputs
    if is_symbolic(chosen) or not is_symbolic(value):
        return None
    return np.take(value, np.ravel(chosen).astype(np.int64), axis=-1)


def slice_(call: NodeCall) -> Symbolic | None:
    value, given = call.inputs[0], call.inputs[1:]
    if len(given) >= 2 and not any(is_symbolic(part) for part in given):
        starts, ends = np.ravel(given[0]), np.ravel(given[1])
        axes = np.ravel(given[2]) if len(given) > 2 and given[2].size else np.arange(len(starts))
        steps = np.ravel(given[3]) if len(given) > 3 else np.ones(len(starts), int)
    elif "starts" in call.attributes:
        starts, ends = call.attributes["starts"], call.attributes["ends"]
        axes, steps = np.array(call.attributes.get("axes", range(len(starts)))), np.ones(len(starts), int)
    else:
        return None
    parts = [slice(None)] * value.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        parts[axis] = slice(int(start), int(end), int(step))
    return value[tuple(parts)]


def one_hot(call: NodeCall) -> Symbolic | None:
    owners = owners_of(call.inputs[0])
    shape = call.shape()
    if len(shape) == owners.ndim + 1:
        return columns(call.node.output[0], np.array(np.broadcast_to(owners[..., None], shape), dtype=object))
    return None
