"""What an event may look like."""

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.reading import InputInvalid, Violation
from scoring.errors import BodyNotJson
from scoring.event import MAX_FIELDS, MAX_ID_LENGTH, Event, parse_event, parse_json, read_event

GOOD = {"event_id": "e1", "product": "cards", "payload": {"amount": 10.5, "country": "SN"}}


def violations(body: object) -> dict[str, str]:
    with pytest.raises(InputInvalid) as refused:
        parse_event(body)
    return {v.pointer: v.detail for v in refused.value.violations}


def test_an_event_keeps_what_was_sent_and_a_sorted_copy_of_its_payload() -> None:
    event = parse_event({**GOOD, "payload": {"b": 1, "a": "x"}})
    assert event == Event("e1", "cards", {"b": 1, "a": "x"}, "e1", b'{"a":"x","b":1}')


def test_the_routing_key_is_the_event_id_unless_it_is_given() -> None:
    assert parse_event(GOOD).routing_key == "e1"
    assert parse_event({**GOOD, "routing_key": None}).routing_key == "e1"
    assert parse_event({**GOOD, "routing_key": "card-7"}).routing_key == "card-7"


def test_an_empty_payload_is_an_event_for_the_model_to_judge() -> None:
    assert parse_event({**GOOD, "payload": {}}).canonical == b"{}"


ID = "must be text of 1 to 128 characters"
SCALAR = "must be text, a number, true, false or null"
OBJECT = f"must be an object of at most {MAX_FIELDS:,} fields"


def test_every_wrong_field_is_named_at_once() -> None:
    body = {"event_id": "", "product": 7, "routing_key": [], "payload": {"a": {"b": 1}, "c": [1], "d": 1}, "extra": 1}
    assert violations(body) == {
        "/event_id": ID,
        "/extra": "no such field",
        "/payload/a": SCALAR,
        "/payload/c": SCALAR,
        "/product": ID,
        "/routing_key": ID,
    }


def test_what_is_missing_is_named() -> None:
    assert violations({}) == {"/event_id": "is missing", "/product": "is missing", "/payload": "is missing"}
    assert violations({"event_id": None, "product": None, "payload": None}) == {
        "/event_id": ID,
        "/product": ID,
        "/payload": OBJECT,
    }


@pytest.mark.parametrize("body", [None, [], "event", 1, True])
def test_a_body_that_is_not_an_object_is_refused(body: object) -> None:
    assert violations(body) == {"": "must be an object"}


@pytest.mark.parametrize("payload", [[], "x", 1, False])
def test_a_payload_that_is_not_an_object_is_refused(payload: object) -> None:
    assert violations({**GOOD, "payload": payload}) == {"/payload": OBJECT}


def test_ids_of_128_characters_are_taken_and_of_129_are_not() -> None:
    longest = {**GOOD, "event_id": "é" * MAX_ID_LENGTH, "routing_key": "k" * MAX_ID_LENGTH}
    assert parse_event(longest).event_id == "é" * MAX_ID_LENGTH
    too_long = {**GOOD, "event_id": "é" * (MAX_ID_LENGTH + 1), "routing_key": "k" * (MAX_ID_LENGTH + 1)}
    assert violations(too_long).keys() == {"/event_id", "/routing_key"}


def test_an_empty_routing_key_is_refused() -> None:
    assert violations({**GOOD, "routing_key": ""}).keys() == {"/routing_key"}


def test_a_nul_is_refused_wherever_it_stands_since_postgres_cannot_store_it() -> None:
    body = {"event_id": "a\0", "product": "cards", "routing_key": "\0", "payload": {"x": "\0", "\0y": 1, "z": "ok"}}
    assert violations(body) == {
        "/event_id": "must not contain a NUL character",
        "/routing_key": "must not contain a NUL character",
        "/payload/x": "must not contain a NUL character",
        "/payload/\0y": "must not contain a NUL character",
    }


def test_the_text_of_an_escaped_nul_is_refused_with_a_reason() -> None:
    assert violations({**GOOD, "payload": {"a": "\\u0000"}}) == {"/payload": "must not contain the text \\u0000"}


def test_more_fields_than_any_model_takes_are_refused() -> None:
    assert parse_event({**GOOD, "payload": {str(n): n for n in range(MAX_FIELDS)}})
    too_many = {str(n): n for n in range(MAX_FIELDS + 1)}
    assert violations({**GOOD, "payload": too_many}) == {"/payload": OBJECT}


def test_a_field_name_is_a_json_pointer_part_and_cut_when_it_is_long() -> None:
    found = violations({**GOOD, "payload": {"a/b~c": [], "n" * 1000: []}, "x" * 1000: 1})
    assert "/payload/a~1b~0c" in found
    assert max(map(len, found)) <= len("/payload/") + MAX_ID_LENGTH


def test_a_violation_never_tells_a_value() -> None:
    secret = "4111-1111-1111-1111"
    body = {"event_id": secret * 20, "product": [secret], "payload": {"card": [secret], "pan": {"n": secret}}}
    with pytest.raises(InputInvalid) as refused:
        parse_event(body)
    assert secret not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e400}',
        b'{"a": 01}',
        b'{"a": 1} x',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "tab\there"}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_what_is_not_json_is_refused_without_quoting_it(body: bytes) -> None:
    with pytest.raises(BodyNotJson, match=r"^the body is not JSON: it (cannot be parsed|is nested too deeply)$"):
        parse_json(body)


def test_of_a_key_sent_twice_the_last_value_counts_and_is_what_is_logged() -> None:
    body = parse_json(b'{"event_id":"e","product":"p","payload":{"amount":1,"amount":2}}')
    assert parse_event(body).canonical == b'{"amount":2}'


def test_a_number_with_hundreds_of_digits_is_kept_to_the_last_one() -> None:
    digits = b"7" * 400
    body = parse_json(b'{"event_id":"e","product":"p","payload":{"n":' + digits + b"}}")
    assert parse_event(body).canonical == b'{"n":' + digits + b"}"


@pytest.mark.parametrize("text", ["日本", "😀", "\u2028", "e\u0301", "\x7f", '"', "\\", "\r\n\t"])
def test_any_other_text_is_logged_as_it_was_sent(text: str) -> None:
    event = parse_event({**GOOD, "event_id": text, "payload": {text: text}})
    assert (event.event_id, json.loads(event.canonical)) == (text, {text: text})


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


EVENTS = st.fixed_dictionaries(
    {"event_id": st.text(max_size=130), "product": st.text(max_size=3), "payload": st.dictionaries(st.text(), SCALARS)},
    optional={"routing_key": st.none() | st.text(max_size=130), "x": SCALARS},
)


def parsed(body: object) -> Event | list[Violation]:
    try:
        return parse_event(body)
    except InputInvalid as refused:
        return refused.violations


def read(body: bytes) -> Event | list[Violation] | str:
    try:
        return read_event(body)
    except InputInvalid as refused:
        return refused.violations
    except BodyNotJson as refused:
        return str(refused)


@given(EVENTS | JSON | st.dictionaries(st.sampled_from(["event_id", "product", "payload", "routing_key", "x"]), JSON))
def test_a_body_read_in_one_pass_is_what_it_is_in_two(body: object) -> None:
    assert read(json.dumps(body).encode()) == parsed(body)


@pytest.mark.parametrize("number", [b"7" * 400, b"-" + b"7" * 4000, b"1e400", b"1.0", b"-0.0", b"1E2", b"9" * 5000])
def test_a_number_read_in_one_pass_is_what_it_is_in_two(number: bytes) -> None:
    body = b'{"event_id":"e","product":"p","payload":{"n":' + number + b"}}"
    try:
        expected: Event | str = parse_event(parse_json(body))
    except BodyNotJson as refused:
        expected = str(refused)
    assert read(body) == expected


@given(JSON | st.dictionaries(st.sampled_from(["event_id", "product", "payload", "routing_key", "x"]), JSON))
def test_any_json_is_an_event_or_refused_with_reasons(body: object) -> None:
    found = parsed(body)
    if isinstance(found, Event):
        assert msgspec.json.decode(found.canonical) == found.payload
    else:
        assert found
        assert all(violation.detail for violation in found)


@given(st.dictionaries(st.text(max_size=5), SCALARS))
def test_the_order_of_payload_fields_does_not_matter(payload: dict[str, object]) -> None:
    if re.search(r"\\u0000", json.dumps(payload).replace("\\\\", "\\")):
        return
    turned = dict(reversed(payload.items()))
    assert parse_event({**GOOD, "payload": payload}).canonical == parse_event({**GOOD, "payload": turned}).canonical
