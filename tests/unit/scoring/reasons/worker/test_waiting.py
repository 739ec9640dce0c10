"""Each product's queue is bounded, and drops its own oldest."""

from collections import Counter

from scoring.reasons.worker.waiting import WaitingPrediction, WaitingPredictions
from tests.support.log_rows import prediction
from tests.support.table_model import version_of

VERSION = version_of(b"")


def item(number: int, product: str = "cards") -> WaitingPrediction:
    return WaitingPrediction(VERSION, (number,), prediction(str(number), product=product))


def numbers(items: list[WaitingPrediction]) -> list[int]:
    return [item.row[0] for item in items]


def test_the_oldest_are_taken_first_and_the_rest_later() -> None:
    waiting = WaitingPredictions(10, lambda item: None)
    for number in range(5):
        waiting.add(item(number))
    assert waiting.counts() == {"cards": 5}
    assert numbers(waiting.take("cards", 3)) == [0, 1, 2]
    assert numbers(waiting.take("cards", 3)) == [3, 4]
    assert waiting.take("cards", 3) == []
    assert waiting.counts() == {}


def test_a_full_queue_drops_its_oldest() -> None:
    dropped: list[WaitingPrediction] = []
    waiting = WaitingPredictions(3, dropped.append)
    for number in range(5):
        waiting.add(item(number))
    assert numbers(dropped) == [0, 1]
    assert numbers(waiting.take("cards", 10)) == [2, 3, 4]


def test_a_product_pushes_out_only_its_own() -> None:
    dropped: Counter[str] = Counter()
    waiting = WaitingPredictions(4, lambda item: dropped.update([item.prediction.product]))
    for number in range(2):
        waiting.add(item(number, "loans"))
    for number in range(10):
        waiting.add(item(number))
    assert dropped == {"cards": 8}
    assert numbers(waiting.take("loans", 10)) == [0, 1]
    assert numbers(waiting.take("cards", 10)) == [8, 9]


def test_with_more_products_than_room_each_has_one() -> None:
    waiting = WaitingPredictions(2, lambda item: None)
    for number in range(3):
        for product in ("a", "b", "c"):
            waiting.add(item(number, product))
    taken = {product: numbers(waiting.take(product, 9)) for product in waiting.counts()}
    assert taken == {"a": [2], "b": [2], "c": [2]}


def test_the_oldest_is_seen_without_being_taken() -> None:
    waiting = WaitingPredictions(2, lambda item: None)
    waiting.add(item(7))
    assert [seen.row for seen in (waiting.oldest("cards"), waiting.oldest("cards")) if seen] == [(7,), (7,)]
    waiting.take("cards", 1)
    assert waiting.oldest("cards") is None
