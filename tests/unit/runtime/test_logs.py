"""A log line: one JSON object, and never a value that someone sent."""

import json
import logging
import subprocess
import sys
from pathlib import Path

from runtime.logs import JsonLines

ROOT = Path(__file__).resolve().parents[3]


def line(message: str = "something_happened", exc_info: object = None, **extra: object) -> dict[str, object]:
    record = logging.getLogger("sira.tests").makeRecord(
        "sira.tests", logging.WARNING, __file__, 1, message, (), exc_info, extra=extra  # type: ignore[arg-type]
    )  # fmt: skip
    text = JsonLines().format(record)
    assert "\n" not in text
    return json.loads(text)  # type: ignore[no-any-return]


def test_a_line_says_when_how_bad_who_and_what() -> None:
    logged = line(product="cards", n=3)
    assert str(logged.pop("at")).endswith("+00:00")
    assert logged == {
        "level": "warning",
        "logger": "sira.tests",
        "event": "something_happened",
        "product": "cards",
        "n": 3,
    }


def test_an_exception_gives_its_class_and_place_and_not_its_text() -> None:
    try:
        raise ValueError("postgresql://sira:hunter2@db 4111-1111")
    except ValueError:
        logged = line(exc_info=sys.exc_info())
    assert logged["exception"] == "ValueError"
    assert str(logged["at_line"]).partition(":")[0] == __file__
    assert "hunter2" not in json.dumps(logged)
    assert "4111" not in json.dumps(logged)


def test_a_field_that_is_not_json_is_still_a_line() -> None:
    assert line(path=Path("/x"), text="a\nb\0")["path"] == "/x"


TALK = """
import logging
from runtime.logs import configure_logs
configure_logs()
logging.getLogger("sira.x").info("ours")
logging.getLogger("library").info("a library chats")
logging.getLogger("library").warning("a library warns")
loud = logging.getLogger("loud")
loud.addHandler(logging.StreamHandler())
loud.propagate = False
configure_logs()
loud.warning("a library with a handler of its own warns")
logging.getLogger("sira.x").info("once")
"""


def test_our_loggers_speak_from_info_up_and_libraries_from_warning_once_each() -> None:
    said = subprocess.run([sys.executable, "-c", TALK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == ""
    assert [json.loads(line)["event"] for line in said.stderr.splitlines()] == [
        *("ours", "a library warns", "a library with a handler of its own warns", "once"),
    ]
