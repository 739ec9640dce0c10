"""What pages keep."""

from console.kept import KeptFacts


def test_only_what_was_kept_is_known() -> None:
    facts = KeptFacts[str, int](2)
    facts.keep({"a": 1})
    assert facts.known(["a", "b"]) == {"a": 1}


def test_the_fact_that_has_not_been_used_for_longest_is_forgotten() -> None:
    facts = KeptFacts[str, int](2)
    facts.keep({"a": 1, "b": 2})
    facts.known(["a"])
    facts.keep({"c": 3})
    assert facts.known("abc") == {"a": 1, "c": 3}


def test_a_fact_that_is_kept_again_replaces_the_one_before() -> None:
    facts = KeptFacts[str, int](1)
    facts.keep({"a": 1})
    facts.keep({"a": 2})
    assert facts.known("a") == {"a": 2}
