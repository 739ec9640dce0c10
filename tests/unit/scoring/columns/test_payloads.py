"""Payloads read by column have the rows and the canonical texts that they have one by one."""

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry.feed import InputFeed, PayloadInvalid, Row
from registry.signature import MAX_FIELDS, Field, ModelInputs
from runtime.reading import InputInvalid
from scoring.columns.envelopes import read_envelopes
from scoring.columns.payloads import PayloadReader
from scoring.errors import BodyNotJson
from scoring.event import parse_event, parse_json

FIELDS = (
    Field("zone", "float"),
    Field("amount", "double", nullable=True),
    Field("hour", "int32", default=12),
    Field("orders", "int64", nullable=True, default=-1),
    Field("country", "string"),
    Field("city", "string", nullable=True),
    Field("vip", "bool", default=False),
    Field("äge 😀", "float", nullable=True, default=-0.0),
)
TYPED = ModelInputs("columns", FIELDS)
# The type that msgspec makes takes no such name, so every payload is read by itself.
UNTYPED = ModelInputs("columns", (*FIELDS, Field('odd "name" \\', "float", nullable=True)))
FIT = {"zone": "1.5", "country": '"FR"'}
LITERALS = st.one_of(
    st.integers(-(1 << 70), 1 << 70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.text(max_size=6).map(json.dumps),
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(
        [
            *("null", "true", "false", "-0", "-0.0", "0.0", "1e400", "-1e400", "1e-400", "3.5e38", "1E2", "100e-2"),
            *("9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "2147483648"),
            *("01", "1.", "NaN", "-", '"\\ud83d\\ude00"', '"\\ud800"', '"\\u0041\\/"', '"\\\\u0000"', "{}", "[1]"),
            *('{"a":[{}]}', "3.4028234663852886e38"),
            *('"' + "x" * 1_024 + '"', '"' + "x" * 1_025 + '"', '"' + "é" * 1_024 + '"', ""),
        ]
    ),
)
NAMES = st.sampled_from([json.dumps(field.name) for field in UNTYPED.fields] + ['"\\u007aone"', '"other"', '"another"'])


def payload_text(members: list[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{name} : {value}" for name, value in members) + "}"


# Most fit: required fields first, then a few others, which may repeat the same names.
PAYLOADS = st.one_of(
    st.lists(st.tuples(NAMES, LITERALS), max_size=5).map(
        lambda more: payload_text([*((json.dumps(name), value) for name, value in FIT.items()), *more])
    ),
    st.lists(st.tuples(NAMES, LITERALS), max_size=5).map(payload_text),
    st.sampled_from(["null", "7", "[]", '""', "{}", "{", '{"zone":1,"country":"x"}']),
)


def one_by_one(inputs: ModelInputs, payloads: list[str]) -> dict[int, tuple[Row, bytes]] | None:
    """What each fitting payload holds, as /v1/infer reads it; None when the body as a whole is refused."""
    body = f'{{"events":[{",".join(event_text(payload) for payload in payloads)}]}}'.encode("utf-8", "surrogatepass")
    feed = InputFeed(inputs)
    found = {}
    try:
        sent = parse_json(body)["events"]
    except BodyNotJson:
        return None
    for place, one in enumerate(sent):
        try:
            event = parse_event(one)
            found[place] = (feed.row(event.payload), event.canonical)
        except (InputInvalid, PayloadInvalid):
            continue
    return found


def event_text(payload: str) -> str:
    return f'{{"event_id":"e","product":"p","payload":{payload}}}'


def exact(read: dict[int, tuple[Row, bytes]]) -> str:
    """A text in which -0.0, 0.0, 0 and False differ, and NaN equals itself."""
    return repr(read)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([TYPED, UNTYPED]), st.lists(PAYLOADS, min_size=1, max_size=5))
@example(TYPED, ['{"zone":-0.0,"country":"FR","\\u00e4ge 😀":null}', '{"zone":1,"zone":2,"country":"b","country":"a"}'])
@example(TYPED, ['{"zone":{},"zone":0,"country":"FR"}'])
def test_a_batch_read_by_column_is_what_its_events_are_one_by_one(inputs: ModelInputs, payloads: list[str]) -> None:
    body = f'{{"events":[{",".join(event_text(payload) for payload in payloads)}]}}'.encode("utf-8", "surrogatepass")
    wanted = one_by_one(inputs, payloads)
    envelopes = read_envelopes(body)
    if envelopes is None:  # read event by event: nothing to compare
        return
    read = PayloadReader(inputs).read([envelope.payload for envelope in envelopes])
    found = dict(zip(read.positions, zip(read.rows, read.texts, strict=True), strict=True))
    if wanted is None:
        assert len(found) < len(payloads)  # so that the body is read again, and refused
        return
    # Not taken, and so read event by event: an object or a list under a name that is given again afterwards.
    left = {place for place in wanted.keys() - found.keys() if repeats_a_name(payloads[place])}
    assert exact(found) == exact({place: one for place, one in wanted.items() if place not in left})


def repeats_a_name(payload: str) -> bool:
    names = [name for name, _ in json.loads(payload, object_pairs_hook=list)]
    return len(set(names)) < len(names)


def read_by(inputs: ModelInputs, *payloads: Any) -> list[int]:
    return list(
        PayloadReader(inputs).read([msgspec.Raw(msgspec.json.encode(payload)) for payload in payloads]).positions
    )


def test_payloads_that_do_not_fit_are_left_out_and_the_others_keep_their_positions() -> None:
    fit = {"zone": 1.5, "country": "FR"}
    assert read_by(TYPED, fit, {**fit, "zone": "x"}, {**fit, "more": 1}, {**fit, "more": [1]}, fit) == [0, 2, 4]


def test_a_payload_with_more_fields_than_a_payload_may_have_is_left_out() -> None:
    fit = {"zone": 1.5, "country": "FR"}
    assert read_by(TYPED, fit | {str(n): n for n in range(MAX_FIELDS - 2)}) == [0]
    assert read_by(TYPED, fit | {str(n): n for n in range(MAX_FIELDS - 1)}) == []


def test_the_largest_signature_is_read_by_column() -> None:
    inputs = ModelInputs("columns", tuple(Field(f"n{n}", "float") for n in range(MAX_FIELDS)))
    payload = {f"n{n}": n for n in range(MAX_FIELDS)}
    read = PayloadReader(inputs).read([msgspec.Raw(msgspec.json.encode(payload))] * 2)
    assert read.rows == [tuple(map(float, range(MAX_FIELDS)))] * 2
    assert read.texts == [msgspec.json.encode(payload, order="sorted")] * 2


def test_missing_values_of_different_payloads_are_one_object() -> None:
    inputs = ModelInputs("columns", (Field("a", "float", nullable=True),))
    rows = PayloadReader(inputs).read([msgspec.Raw(b"{}"), msgspec.Raw(b'{"a":null}')]).rows
    assert math.isnan(rows[0][0])
    assert rows[0] == rows[1]  # NaN equals itself by identity only


@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[]}',
        b"[]",
        b"nothing",
        b'{"events":[{"event_id":"","product":"p","payload":{}}]}',
        b'{"events":[{"event_id":"e","product":"p","payload":{},"more":1}]}',
        b'{"events":[{"event_id":"e","product":"p"}]}',
        b'{"events":[{"event_id":"\\u0000","product":"p","payload":{}}]}',
        b'{"events":[{"event_id":"e","product":"p","payload":{"a":"\\u0000"}}]}',
        b'{"events":[' + b",".join([b'{"event_id":"e","product":"p","payload":{}}'] * 1_001) + b"]}",
        b'{"events":' + b"[" * 100_000,
    ],
)
def test_an_odd_envelope_leaves_its_batch_to_be_read_event_by_event(body: bytes) -> None:
    assert read_envelopes(body) is None
