"""Every fault of a body by its place, in words that hold no value."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from runtime.reading import MAX_VIOLATIONS, InputInvalid, Violation, closest_name, expected, pointer_part, read


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    share: Annotated[float, Meta(ge=0, le=100)]
    gate: Literal["auto", "manual"] = "auto"


class Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=4)]
    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=3)] = ()
    by_name: dict[str, Part] = {}
    colour: Colour | None = None
    part: Part | Literal["default"] | None = None
    count: Annotated[int, Meta(gt=0)] = 1

    @staticmethod
    def check(fields: Mapping[str, Any]) -> Iterator[Violation]:
        if sum(part.share for part in fields.get("parts", ())) > 100:
            yield Violation("/parts", "must not share more than 100")


def faults(kind: Any, raw: object, *, strict: bool = True) -> list[tuple[str, str]]:
    with pytest.raises(InputInvalid) as invalid:
        read(kind, raw, strict=strict)
    return [(violation.pointer, violation.detail) for violation in invalid.value.violations]


def test_what_fits_is_read_with_its_defaults() -> None:
    raw = {"name": "a", "parts": [{"share": 1}], "by_name": {"x": {"share": 2.5, "gate": "manual"}}, "colour": "red"}
    assert read(Whole, raw) == Whole("a", (Part(1.0),), {"x": Part(2.5, "manual")}, Colour.RED)
    assert read(Whole, {"name": "a", "part": "default"}).part == "default"
    assert read(Whole, {"name": "a", "part": {"share": 3}}).part == Part(3.0)
    assert read(Whole, {"name": "a", "part": None}).part is None


def test_every_fault_is_named_at_once_with_its_place() -> None:
    raw = {
        "names": "a",
        "parts": [{"share": 60}, {"share": 50}, {"gate": "open", "share": True}],
        "by_name": {"a/b": {}, "c": 4},
        "colour": "4111222233334444",
        "part": "x",
        "count": 0,
    }
    assert faults(Whole, raw) == [
        ("/names", "no such field; did you mean name?"),
        ("/name", "is missing"),
        ("/parts/2/share", "must be a number from 0 to 100"),
        ("/parts/2/gate", "must be auto or manual"),
        ("/by_name/a~1b/share", "is missing"),
        ("/by_name/c", "must be an object"),
        ("/colour", "must be red or green"),
        ("/part", "must be an object or default"),
        ("/count", "must be a whole number above 0"),
        ("/parts", "must not share more than 100"),
    ]


@pytest.mark.parametrize("raw", [None, [], "a", 1, True])
def test_a_body_that_is_not_an_object_is_one_fault(raw: object) -> None:
    assert faults(Whole, raw) == [("", "must be an object")]


@pytest.mark.parametrize(("parts", "length"), [([], 0), ([{"share": "x"}] * 4, 4)])
def test_a_list_of_a_wrong_length_is_one_fault_whatever_is_in_it(parts: list[Any], length: int) -> None:
    assert faults(Whole, {"name": "a", "parts": parts}) == [("/parts", "must be a list of 1 to 3 items")]


def test_a_list_at_the_top_is_read_item_by_item() -> None:
    kind = Annotated[list[Part], Meta(min_length=1, max_length=2)]
    assert read(kind, [{"share": 1}]) == [Part(1.0)]  # type: ignore[arg-type, comparison-overlap]
    assert faults(kind, [{"share": 1}, {}]) == [("/1/share", "is missing")]
    assert faults(kind, []) == [("", "must be a list of 1 to 2 items")]
    assert faults(kind, {}) == [("", "must be a list of 1 to 2 items")]


def test_no_text_may_hold_a_nul() -> None:
    raw = {"name": "\0", "by_name": {"\0": {"share": 1}}}
    assert [detail for _, detail in faults(Whole, raw)] == ["must not contain a NUL character"] * 2


def test_text_is_read_as_a_number_only_where_that_is_wanted() -> None:
    assert read(Part, {"share": "10"}, strict=False) == Part(10.0)
    assert faults(Part, {"share": "10"}) == [("/share", "must be a number from 0 to 100")]
    assert faults(Part, {"share": "ten"}, strict=False) == [("/share", "must be a number from 0 to 100")]


def test_faults_beyond_what_anyone_reads_are_cut_off() -> None:
    found = faults(list[Part], [{}] * 1000)
    assert len(found) == MAX_VIOLATIONS + 1
    assert found[-1] == ("", "and there may be more")


def test_the_message_names_every_fault_on_one_line() -> None:
    with pytest.raises(InputInvalid, match=r"^/name: is missing; /count: must be a whole number above 0$"):
        read(Whole, {"count": -1})


class Worded(msgspec.Struct):
    id: Annotated[str, Meta(pattern="^[0-9]+$", extra={"expected": "must be the number of a house"})]


def test_a_field_may_have_its_own_words() -> None:
    assert faults(Worded, {"id": "x"}) == [("/id", "must be the number of a house")]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (bool, "must be true or false"),
        (str, "must be text"),
        (Annotated[str, Meta(max_length=1000)], "must be text of at most 1,000 characters"),
        (Annotated[str, Meta(min_length=2)], "must be text of at least 2 characters"),
        (Annotated[int, Meta(ge=20)], "must be a whole number of at least 20"),
        (Annotated[float, Meta(gt=1, le=100)], "must be a number above 1 and at most 100"),
        (Annotated[dict[str, int], Meta(max_length=9)], "must be an object of at most 9 fields"),
        (Literal["a", "b", "c"], "must be a, b or c"),
        (str | int | None, "must be text or a whole number"),
    ],
)
def test_a_type_says_what_it_takes(kind: Any, words: str) -> None:
    assert expected(kind) == words


class Unchecked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every kind of field, without a check of its own: msgspec alone decides what fits."""

    name: Annotated[str, Meta(min_length=1, max_length=4)]
    parts: Annotated[tuple[Part, ...], Meta(min_length=1, max_length=3)] = ()
    by_name: Annotated[dict[str, Part | None], Meta(max_length=2)] = {}
    colour: Colour | None = None
    part: Part | Literal["default"] | None = None
    scalars: list[str | int | bool] = []
    count: Annotated[int, Meta(gt=0)] = 1


SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 101) | st.floats(-1, 101) | st.sampled_from(["red", "default", "a"])
)
PARTS = st.dictionaries(st.sampled_from(["share", "gate", "x"]), SCALARS | st.just("auto"), max_size=3)
FIELDS = {
    "name": SCALARS,
    "parts": st.lists(PARTS | SCALARS, max_size=4) | SCALARS | PARTS,
    "by_name": st.dictionaries(st.sampled_from("abc"), PARTS | SCALARS, max_size=3) | SCALARS,
    "colour": SCALARS | PARTS,
    "part": SCALARS | PARTS | st.lists(SCALARS, max_size=1),
    "scalars": st.lists(SCALARS | PARTS, max_size=3) | SCALARS,
    "count": SCALARS,
    "other": SCALARS,
}


@settings(max_examples=500, deadline=None)
@given(st.fixed_dictionaries({}, optional=FIELDS) | SCALARS | st.lists(SCALARS, max_size=2), st.booleans())
def test_it_reads_what_msgspec_reads_and_refuses_what_msgspec_refuses(raw: object, strict: bool) -> None:
    try:
        wanted = msgspec.convert(raw, Unchecked, strict=strict)
    except msgspec.ValidationError:
        assert faults(Unchecked, raw, strict=strict)
    else:
        assert read(Unchecked, raw, strict=strict) == wanted


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
