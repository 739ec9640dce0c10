"""Symbolic values of a graph's tensors for one row: what each element is made of, and which fields it depends on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

# Weights that float32 arithmetic may have moved apart.
_SAME = 1e-5
# An object array of Expression, shaped like the tensor for one row; or a numeric or text array for a constant.
Symbolic = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """Expression `index` (flat) of a tensor's row. `owners` has bit i set when it depends on field i."""

    tensor: str
    index: int
    owners: int = field(compare=False)

    @property
    def owner(self) -> int | None:
        """The one field that this column depends on; None for none, or for more than one."""
        return self.owners.bit_length() - 1 if self.owners.bit_count() == 1 else None


@dataclass(frozen=True, slots=True)
class TreeSum:
    """The sum of an ensemble's leaf values for one target; `ensemble` is the node's output name."""

    ensemble: str
    target: int
    owners: int = field(compare=False)


Term = Column | TreeSum


@dataclass(frozen=True, slots=True)
class Expression:
    """A function of `intercept + sum(coefficient * term)`.

    `shape` is that function: affine (the sum itself), sigmoid, exp, or one_plus_exp.
    """

    intercept: float = 0.0
    terms: Mapping[Term, float] = field(default_factory=dict)
    shape: Literal["affine", "sigmoid", "exp", "one_plus_exp"] = "affine"

    @property
    def owners(self) -> int:
        """The fields that this element depends on, as bits."""
        found = 0
        for term in self.terms:
            found |= term.owners
        return found

    @property
    def is_constant(self) -> bool:
        return self.shape == "affine" and not self.terms


def constant(value: float) -> Expression:
    return Expression(intercept=float(value))


def of_term(term: Term) -> Expression:
    return Expression(terms={term: 1.0})


def scaled(element: Expression, factor: float) -> Expression | None:
    """Return `factor * element`, or None when that has no shape of its own."""
    if factor == 1.0:
        return element
    if element.shape != "affine":
        return None
    return Expression(element.intercept * factor, {term: value * factor for term, value in element.terms.items()})


def added(elements: Iterable[Expression]) -> Expression | None:
    """Return the sum, or None when it has no shape of its own."""
    intercept, terms, bent = 0.0, dict[Term, float](), list[Expression]()
    for element in elements:
        if element.shape != "affine":
            bent.append(element)
            continue
        intercept += element.intercept
        for term, value in element.terms.items():
            terms[term] = terms.get(term, 0.0) + value
    terms = {term: value for term, value in terms.items() if value != 0.0}
    if not bent:
        return Expression(intercept, terms)
    if terms:
        return None
    if len(bent) > 1:
        return constant(intercept + 1.0) if len(bent) == 2 and are_complements(*bent) else None
    if intercept == 0.0:
        return bent[0]
    if intercept == 1.0 and bent[0].shape == "exp":
        return Expression(bent[0].intercept, bent[0].terms, "one_plus_exp")
    return None


def complement(element: Expression) -> Expression | None:
    """Return `1 - element`, or None when that has no shape of its own."""
    if element.shape == "sigmoid":
        return Expression(-element.intercept, negated(element).terms, "sigmoid")
    negative = scaled(element, -1.0)
    return None if negative is None else added((constant(1.0), negative))


def are_complements(first: Expression, second: Expression) -> bool:
    """Return whether two elements add up to one, as both probabilities of a binary classifier do."""
    other = complement(first)
    return (
        other is not None
        and other.shape == second.shape
        and other.terms.keys() == second.terms.keys()
        and abs(other.intercept - second.intercept) < _SAME
        and all(abs(value - second.terms[term]) < _SAME for term, value in other.terms.items())
    )


def negated(element: Expression) -> Expression:
    """Return the affine part with its sign changed, as an affine element."""
    return Expression(-element.intercept, {term: -value for term, value in element.terms.items()})


def sigmoid(element: Expression) -> Expression | None:
    """Return the logistic function of an affine element; None for any other."""
    return Expression(element.intercept, element.terms, "sigmoid") if element.shape == "affine" else None


def columns(tensor: str, owners: np.ndarray[Any, Any]) -> Symbolic:
    """Return a tensor of new columns; `owners` (object) has their owner bits and gives the shape."""
    elements = np.empty(owners.shape, dtype=object)
    flat, bits = elements.reshape(-1), owners.reshape(-1)
    for index in range(flat.size):
        flat[index] = of_term(Column(tensor, index, bits[index]))
    return elements


def owners_of(value: Symbolic) -> np.ndarray[Any, Any]:
    """Return the owner bits of each element (object array); 0 for constants."""
    if value.dtype != object or not value.size or not isinstance(value.reshape(-1)[0], Expression):
        owners = np.empty(value.shape, dtype=object)
        owners.fill(0)
        return owners
    return np.frompyfunc(lambda element: element.owners, 1, 1)(value)  # type: ignore[no-any-return]


def is_symbolic(value: Symbolic) -> bool:
    """False for a constant."""
    return value.dtype == object and value.size > 0 and isinstance(value.reshape(-1)[0], Expression)
