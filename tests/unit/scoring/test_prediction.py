"""A row of the prediction log, and its id."""

import csv
import hashlib
import io
import json
import re
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.log.prediction import FuseTripRow, PairedPrediction, Prediction, copy_text, payload_sha256, prediction_id

MODEL = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
DIGEST = payload_sha256(b'{"amount":100}')


def test_the_digest_is_sha256_of_the_canonical_bytes() -> None:
    assert payload_sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_id_is_the_same_on_every_pod_forever() -> None:
    """Pinned: a change here would answer old events under new ids."""
    assert prediction_id(MODEL, "fraud_score", "test-event-001", DIGEST) == "d503e680-5928-80c1-9613-7935096c1583"


def test_the_id_is_the_custom_hash_of_rfc_9562_with_its_version_and_variant_bits_set() -> None:
    """RFC 9562, 5.8: 48 bits, version 1000, 12 bits, variant 10, 62 bits, the rest left to the application."""
    name = "\0".join((MODEL, "p", "e", DIGEST)).encode()
    hashed = int.from_bytes(hashlib.blake2b(name, digest_size=16, person=b"sira-prediction1").digest())
    made = UUID(prediction_id(MODEL, "p", "e", DIGEST))
    assert (made.version, made.variant) == (8, RFC_4122)
    unset = ~(0xF << 76 | 0x3 << 62)
    assert made.int & unset == hashed & unset


@given(st.text(), st.text())
def test_every_event_id_makes_an_id_of_that_shape(product: str, event_id: str) -> None:
    made = prediction_id(MODEL, product, event_id, DIGEST)
    assert str(UUID(made)) == made
    assert UUID(made).version == 8


def test_another_model_product_event_or_payload_is_another_prediction() -> None:
    ids = {
        prediction_id(MODEL, "p", "e", DIGEST),
        prediction_id(MODEL[:-1] + "e", "p", "e", DIGEST),
        prediction_id(MODEL, "q", "e", DIGEST),
        prediction_id(MODEL, "p", "f", DIGEST),
        prediction_id(MODEL, "p", "e", payload_sha256(b"{}")),
        prediction_id(MODEL, "pe", "", DIGEST),
    }
    assert len(ids) == 6


def prediction(**values: object) -> Prediction:
    known: dict[str, object] = {
        "prediction_id": prediction_id(MODEL, "p", "e", DIGEST),
        "created_at": 1_700_000_000.123456,
        "product": "p",
        "event_id": "e",
        "routing_key": "k",
        "payload": '{"amount":100}',
        "payload_sha256": DIGEST,
        "model_id": MODEL,
        "model_version": "1",
        "artifact_sha256": "a" * 64,
        "runtime_version": "onnxruntime 1",
        "score": 0.1 + 0.2,
        "decision": "allow",
        "review_threshold": 0.5,
        "block_threshold": 0.9,
        "variant": "production",
        "arm": "production",
        "rollout_id": None,
        "phase": None,
        "cached": False,
        "latency_seconds": 1e-05,
        "model_seconds": None,
        "outcome": "ok",
    }
    return Prediction(**{**known, **values})  # type: ignore[arg-type]


def fields(line: bytes) -> list[str | None]:
    """A line of COPY text read back as Postgres does."""
    assert line.endswith(b"\n")
    meaning = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
    return [
        None if field == "\\N" else re.sub(r"\\(.)", lambda escaped: meaning[escaped[1]], field)
        for field in line[:-1].decode().split("\t")
    ]


@given(st.text(max_size=40), st.text(max_size=40), st.dictionaries(st.text(max_size=5), st.text(max_size=20)))
def test_any_text_comes_through_the_copy_format_as_it_was(
    event_id: str, routing_key: str, payload: dict[str, str]
) -> None:
    row = prediction(event_id=event_id, routing_key=routing_key, payload=json.dumps(payload))
    line = copy_text([row])
    assert line.count(b"\n") == 1
    assert len(line.splitlines()) == 1
    read = fields(line)
    assert (read[3], read[4], read[5]) == (event_id, routing_key, json.dumps(payload))


@pytest.mark.parametrize("text", ["\\N", "\\.", "\\", "\\\\", "a\tb", "\r\n", "\\t", "\x0b\x0c", "\u2028\u2029\x85"])
def test_text_that_means_something_to_copy_is_text(text: str) -> None:
    read = fields(copy_text([prediction(event_id=text)]))
    assert (read[3], len(read)) == (text, len(Prediction.__struct_fields__))


def test_what_is_not_there_is_null_and_numbers_keep_every_bit() -> None:
    read = dict(zip(Prediction.__struct_fields__, fields(copy_text([prediction()])), strict=True))
    assert (read["rollout_id"], read["phase"], read["model_seconds"]) == (None, None, None)
    assert float(str(read["score"])) == 0.1 + 0.2
    assert float(str(read["latency_seconds"])) == 1e-05


def test_other_tables_have_lines_of_their_own_width() -> None:
    paired = PairedPrediction("id", 1.5, "r", 2, "p", "a\tb", None, 0.25, "allow", 0.75, "review")
    trip = FuseTripRow("r", "host\\1/7", 1.5, 4, 4, False)
    assert fields(copy_text([paired])) == [
        *("id", "1.5", "r", "2", "p", "a\tb", None, "0.25", "allow", "0.75", "review"),
    ]
    assert fields(copy_text([trip])) == ["r", "host\\1/7", "1.5", "4", "4", "False"]


def test_lines_of_many_rows_stand_one_after_the_other() -> None:
    rows = [prediction(event_id=f"e{n}") for n in range(3)]
    lines = list(csv.reader(io.StringIO(copy_text(rows).decode()), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [line[3] for line in lines] == ["e0", "e1", "e2"]
