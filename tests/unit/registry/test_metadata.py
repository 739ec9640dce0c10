"""What `sira.*` entries of a model file say, and how a caller's word goes before it."""

import json

import pytest

from registry.inspection.metadata import ModelMetadata, read_metadata


def read(**entries: object) -> ModelMetadata:
    metadata, faults = read_metadata(_entries(entries))
    assert faults == []
    return metadata


def _entries(entries: dict[str, object]) -> dict[str, str]:
    return {f"sira.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in entries.items()}


def test_a_file_without_entries_says_nothing() -> None:
    assert read() == ModelMetadata()


def test_every_entry_is_read() -> None:
    assert read(
        features=["a", "b"],
        signature={
            "fields": {"a": {"nullable": True}, "b": {"nullable": True, "default": 0}, "c": {"nullable": False}}
        },
        rename={"Amount (EUR)": "Amount__EUR_"},
        thresholds={"review": 0.5},
        positive="fraud",
        output="p",
    ) == ModelMetadata(
        features=("a", "b"),
        positive="fraud",
        output="p",
        nullable=("a", "b"),
        defaults={"b": 0},
        rename={"Amount (EUR)": "Amount__EUR_"},
        thresholds={"review": 0.5},
    )


@pytest.mark.parametrize("features", ["a,b", "a, b"])
def test_features_may_be_written_with_commas(features: str) -> None:
    assert read(features=features).features == ("a", "b")


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        *(("features", text, "sira.features must be a JSON list of names") for text in ("[1, 2]", '["a"', "[[]]")),
        *(
            ("signature", text, "sira.signature must be")
            for text in (
                *("", "[]", "{}", '{"fields": []}', '{"fields": {"a": 1}}', '{"fields": {"a": {"null": true}}}'),
                *('{"fields": {"a": {"default": []}}}', '{"fields": {"a": {"nullable": 1}}}'),
            )
        ),
        *(("rename", text, "sira.rename must be") for text in ("", "[]", '"a"', '{"a": 1}')),
        *(("thresholds", text, "sira.thresholds must be") for text in ("", "0.5", "[0.5, 0.9]", '{"reviews": 0.5}')),
        ("signature", "[" * 100_000, "sira.signature must be"),
    ],
)
def test_an_entry_of_another_shape_is_a_fault(key: str, value: str, fault: str) -> None:
    (found,) = read_metadata({f"sira.{key}": value})[1]
    assert found.startswith(fault)


def test_every_fault_is_named_at_once() -> None:
    assert len(read_metadata(_entries({"features": "[", "signature": "", "rename": "", "thresholds": ""}))[1]) == 4


def test_the_caller_goes_before_the_file_one_by_one() -> None:
    in_file = ModelMetadata(("a",), "0", "p", ("a",), {"a": 1, "b": 2}, {"x": "a"}, {"review": 0.1, "block": 0.2})
    declared = ModelMetadata(("c",), None, "q", ("b",), {"b": 3}, {"y": "b"}, {"block": 0.9})
    assert declared.over(in_file) == ModelMetadata(
        ("c",), "0", "q", ("b", "a"), {"a": 1, "b": 3}, {"x": "a", "y": "b"}, {"review": 0.1, "block": 0.9}
    )


@pytest.mark.parametrize("first", ["all", ()])
def test_all_is_more_than_any_list_of_nullable_fields(first: object) -> None:
    one, other = ModelMetadata(nullable=first), ModelMetadata(nullable="all" if first == () else ("a",))  # type: ignore[arg-type]
    assert one.over(other).nullable == "all"
