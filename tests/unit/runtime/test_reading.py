"""Pointers to what is wrong, and the name that was most likely meant."""

import pytest

from runtime.reading import closest_name, pointer_part


def test_a_name_is_escaped_and_cut_as_part_of_a_pointer() -> None:
    assert pointer_part("a/b~c") == "a~1b~0c"
    assert len(pointer_part("n" * 1000)) == 128


@pytest.mark.parametrize(
    ("name", "candidates", "closest"),
    [
        ("Amount__EUR_", ["amount", "Amount (EUR)"], "Amount (EUR)"),
        ("Größe", ["GRÖSSE", "Gr__e"], "GRÖSSE"),
        ("merchant_id", ["card_id", "merchantid"], "merchantid"),
        ("merchant_id", ["merchant_ids"], "merchant_ids"),
        ("amount", ["zip", "hour"], None),
        ("amount", [], None),
        ("__", ["--", "!!"], None),
    ],
)
def test_the_closest_name_is_the_one_that_was_meant_or_none(
    name: str, candidates: list[str], closest: str | None
) -> None:
    assert closest_name(name, candidates) == closest
