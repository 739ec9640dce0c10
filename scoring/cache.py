"""Scores of inputs seen before: bounded, keyed by model and canonical row, least recently used out."""

from collections import OrderedDict

from scoring.signature import Row


class ScoreCache:
    """At most `most_items` scores over all models of the process. Not thread-safe: one per event loop."""

    def __init__(self, most_items: int) -> None:
        self._most_items = most_items
        self._scores: OrderedDict[tuple[str, Row], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, model: str, row: Row) -> float | None:
        key = (model, row)
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, model: str, row: Row, score: float) -> None:
        self._scores[model, row] = score
        if len(self._scores) > self._most_items:
            self._scores.popitem(last=False)
