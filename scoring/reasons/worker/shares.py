"""Which predictions are explained without being asked: a share per decision, and per product where it differs."""

from collections.abc import Iterable, Mapping

from runtime.settings import ReasonsShare

# Ids are hashes: their first 32 bits are a uniform draw that is the same in every process.
_DRAWS = 1 << 32


class Shares:
    """`wanted` costs a lookup for decisions that are never explained: every answer asks."""

    def __init__(self, shares: Iterable[ReasonsShare]) -> None:
        """Later shares win; one without a product holds for all products that have none of their own."""
        self._default = {"allow": 0.0, "review": 0.0, "block": 0.0}
        own: dict[str, dict[str, float]] = {}
        for share in shares:
            of = self._default if share.product is None else own.setdefault(share.product, {})
            of[share.decision] = share.share
        self._own: Mapping[str, Mapping[str, float]] = {name: self._default | given for name, given in own.items()}

    def may_want(self, product: str, decision: str) -> bool:
        """Return whether any prediction of this product and decision is explained."""
        return self._own.get(product, self._default)[decision] > 0.0

    def wanted(self, product: str, decision: str, prediction_id: str) -> bool:
        """Return whether to explain this prediction: always the same for one id."""
        share = self._own.get(product, self._default)[decision]
        return share > 0.0 and (share >= 1.0 or int(prediction_id[:8], 16) < share * _DRAWS)
