"""The control application: who may call, what is read, and what goes wrong before any handler runs."""

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import psycopg
import pytest
from msgspec import Meta

from edge.control import app
from edge.control.app import control_app
from edge.control.routes import Access, Call, Reply, Resources, Route
from registry.artifacts import open_store
from runtime.auth import Authenticator
from runtime.settings import Settings
from tests.support.asgi import GONE, NEVER, Answered, request

TOKEN = {"authorization": "Bearer " + "s" * 40}
FORM = {**TOKEN, "content-type": "multipart/form-data; boundary=cut"}


class EchoQuery(msgspec.Struct, forbid_unknown_fields=True):
    x: str = ""
    y: str = ""


class EchoForm(msgspec.Struct, forbid_unknown_fields=True):
    product: str = ""
    names: tuple[str, ...] | Literal["all"] = ()
    by_name: dict[str, str | int] = {}
    share: float = 0


def echo(call: Call) -> Reply:
    upload = call.upload.read_text() if call.upload else None
    return Reply({"path": call.path, "query": call.query, "body": call.body, "upload": upload})


def raising(error: Exception) -> Any:
    def handle(call: Call) -> Reply:
        raise error

    return handle


def route(method: str, path: str, access: Access, handle: Any, **fields: Any) -> Route:
    return Route(method, path, access, handle, "Health", "", {200: dict[str, Any]}, **fields)


ROUTES = (
    route("GET", "/echo/{name}", Access.OPTIONAL, echo, query=EchoQuery),
    route("POST", "/echo/{name}", Access.SERVICE, echo, takes=Any, body_limit=100, query=EchoQuery),
    route("POST", "/count", Access.SERVICE, echo, takes=Annotated[dict[str, int], Meta(min_length=1)]),
    route("POST", "/upload", Access.SERVICE, echo, takes=EchoForm, body_limit=500, upload=True),
    route("GET", "/thread", Access.ANYONE, lambda call: Reply(threading.current_thread().name)),
    route("GET", "/text", Access.ANYONE, lambda call: Reply(text="é", status=203, media_type="text/plain")),
    route("GET", "/data", Access.ANYONE, raising(psycopg.DataError("secret 4111"))),
    route("GET", "/clash", Access.ANYONE, raising(psycopg.IntegrityError("secret 4111"))),
    route("GET", "/away", Access.ANYONE, raising(psycopg.OperationalError("secret 4111"))),
    route("GET", "/bug", Access.ANYONE, raising(RuntimeError("secret 4111"))),
)


def made_of(*routes: Route, observed: list[tuple[str, int]] | None = None) -> Any:
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://db/sira",
            "model_bucket": "file:///models",
            "jwt_secret": "j" * 40,
            "internal_service_token": "s" * 40,
        }
    )
    return control_app(
        routes,
        Resources("postgresql://db/sira", open_store("file:///models")),
        Authenticator(settings),
        lambda route, status: observed.append((route, status)) if observed is not None else None,
    )


def ask(
    method: str, target: str, chunks: Sequence[Any] = (b"",), headers: dict[str, str] = TOKEN
) -> tuple[Answered, list[tuple[str, int]]]:
    """The answer, and what was observed of it."""
    observed: list[tuple[str, int]] = []
    app = made_of(*ROUTES, observed=observed)
    return asyncio.run(request(app, method, target, chunks, headers)), observed


def problem(answered: Answered, status: int) -> dict[str, Any]:
    assert (answered.status, answered.headers["content-type"]) == (status, "application/problem+json")
    found: dict[str, Any] = answered.json()
    assert found["status"] == status
    return found


def test_a_route_receives_its_path_query_and_body_and_is_observed_by_its_template() -> None:
    answered, observed = ask("POST", "/echo/ab?x=1&y=%C3%A9", [b'{"n":', b" 1}"])
    assert answered.json() == {
        "path": {"name": "ab"},
        "query": {"x": "1", "y": "é"},
        "body": {"n": 1},
        "upload": None,
    }
    assert observed == [("/echo/{name}", 200)]


def test_an_empty_body_is_none() -> None:
    assert ask("POST", "/echo/a", [b" \n"])[0].json()["body"] is None


def test_a_text_reply_keeps_its_status_and_media_type() -> None:
    answered, _ = ask("GET", "/text")
    assert (answered.status, answered.body.decode()) == (203, "é")
    assert answered.headers["content-type"].startswith("text/plain")


def test_handlers_run_off_the_event_loop() -> None:
    assert ask("GET", "/thread")[0].json() != threading.main_thread().name


def test_calls_that_wait_for_postgres_keep_no_probe_waiting() -> None:
    back = threading.Event()
    away = route("GET", "/away", Access.ANYONE, lambda call: Reply(back.wait(20)))
    probe = route("GET", "/probe", Access.ANYONE, lambda call: Reply("here"), local=True)

    async def probed() -> tuple[Answered, bool]:
        app = made_of(away, probe)
        waiting = [asyncio.create_task(request(app, "GET", "/away")) for _ in range(100)]
        await asyncio.sleep(0.2)
        answered = await asyncio.wait_for(request(app, "GET", "/probe"), 10)
        none_is_done = not any(task.done() for task in waiting)
        back.set()
        await asyncio.gather(*waiting)
        return answered, none_is_done

    answered, none_is_done = asyncio.run(probed())
    assert (answered.json(), none_is_done) == ("here", True)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/echo/a", "GET, HEAD, POST"),
        ("OPTIONS", "/echo/a", "GET, HEAD, POST"),
        ("DELETE", "/upload", "POST"),
        ("HEAD", "/upload", "POST"),
        ("BREW", "/text", "GET, HEAD"),
    ],
)
def test_a_path_says_which_methods_it_takes(method: str, path: str, allowed: str) -> None:
    answered, observed = ask(method, path)
    problem(answered, 405)
    assert answered.headers["allow"] == allowed
    assert [status for _, status in observed] == [405]


@pytest.mark.parametrize("path", ["/nothing", "/echo", "/echo/a/b", "/text/", "//text"])
def test_a_path_that_is_not_there_is_a_problem_document(path: str) -> None:
    problem(ask("GET", path)[0], 404)


def test_head_is_answered_as_get_is() -> None:
    assert ask("HEAD", "/text")[0].status == 203


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/data", 422, "Postgres cannot hold one of these values"),
        ("/clash", 409, "someone else changed this at the same time: look again, then try again"),
        ("/away", 503, "the registry's database cannot be reached"),
        ("/bug", 500, "internal error; see the service log"),
    ],
)
def test_an_internal_error_is_reported_without_its_text(path: str, status: int, detail: str) -> None:
    answered, observed = ask("GET", path)
    assert problem(answered, status)["detail"] == detail
    assert b"4111" not in answered.body
    assert observed == [(path, status)]


@pytest.mark.parametrize(
    ("target", "chunks"),
    [
        ("/echo/%00", [b""]),
        ("/echo/a?%00=1", [b""]),
        ("/echo/a?x=a%00b", [b""]),
        ("/count", [b'{"a\\u0000": 1}']),
    ],
)
def test_a_nul_is_refused_before_it_reaches_postgres_or_a_path(target: str, chunks: list[bytes]) -> None:
    target = target.replace("/%00", "/\0") if target.startswith("/echo/%00") else target
    problem(ask("POST", target, chunks)[0], 422)


def test_a_parameter_is_read_into_its_query_and_named_when_it_is_wrong() -> None:
    assert ask("GET", "/echo/a?x=1")[0].json()["query"] == {"x": "1", "y": ""}
    assert problem(ask("GET", "/echo/a?z=1")[0], 422)["errors"] == [{"pointer": "z", "detail": "no such field"}]


def test_a_body_is_read_into_its_type_and_every_fault_is_pointed_to() -> None:
    assert ask("POST", "/count", [b'{"a": 1}'])[0].json()["body"] == {"a": 1}
    assert problem(ask("POST", "/count", [b'{"a": "4111", "b": 2.5}'])[0], 422)["errors"] == [
        {"pointer": "/a", "detail": "must be a whole number"},
        {"pointer": "/b", "detail": "must be a whole number"},
    ]
    problem(ask("POST", "/count", [b"{}"])[0], 422)
    problem(ask("POST", "/count")[0], 422)


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 99, b'{"a": NaN}'])
def test_a_body_that_is_not_json_is_400(body: bytes) -> None:
    problem(ask("POST", "/echo/a", [body])[0], 400)


def test_a_body_over_the_limit_of_its_route_is_413() -> None:
    assert ask("POST", "/echo/a", [b'"' + b"x" * 98 + b'"'])[0].status == 200
    problem(ask("POST", "/echo/a", [b'"' + b"x" * 99 + b'"'])[0], 413)
    problem(ask("POST", "/echo/a", [NEVER], {**TOKEN, "content-length": "101"})[0], 413)


def test_a_body_that_does_not_come_is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_TIMEOUT_SECONDS", 0.1)
    assert problem(ask("POST", "/echo/a", [b"{", NEVER])[0], 408)["detail"] == "no complete request within 0.1 s"


def test_a_caller_without_the_role_is_refused_before_the_body_is_read() -> None:
    problem(ask("POST", "/echo/a", [NEVER], {})[0], 401)
    problem(ask("POST", "/echo/a", [NEVER], {"authorization": "Bearer wrong"})[0], 401)


def test_where_a_token_is_optional_a_wrong_one_is_refused_and_where_none_is_asked_it_is_not_looked_at() -> None:
    wrong = {"authorization": "Bearer wrong"}
    assert ask("GET", "/echo/a", headers={})[0].status == 200
    problem(ask("GET", "/echo/a", headers=wrong)[0], 401)
    assert ask("GET", "/text", headers=wrong)[0].status == 203


# ---------------------------------------------------------------- uploads


def form(*parts: tuple[str, str]) -> bytes:
    form = "".join(f"--cut\r\nContent-Disposition: form-data; {names}\r\n\r\n{text}\r\n" for names, text in parts)
    return f"{form}--cut--\r\n".encode()


FILE = ('name="file"; filename="m.onnx"', "bytes")
GOOD = form(('name="product"', "cards"), FILE)


def upload(body: bytes | list[Any], headers: dict[str, str] | None = None) -> Answered:
    chunks = body if isinstance(body, list) else [body]
    length = str(sum(len(chunk) for chunk in chunks if isinstance(chunk, bytes)))
    return ask("POST", "/upload", chunks, FORM | {"content-length": length} | (headers or {}))[0]


def test_an_upload_is_a_file_and_its_fields() -> None:
    found = upload(GOOD).json()
    assert (found["body"], found["upload"]) == (json.loads(msgspec.json.encode(EchoForm("cards"))), "bytes")


def test_a_form_writes_lists_with_commas_maps_as_json_and_numbers_as_text() -> None:
    parts = [('name="names"', "a, b"), ('name="by_name"', '{"a": 1}'), ('name="share"', "0.5"), FILE]
    assert upload(form(*parts)).json()["body"] == {
        "product": "",
        "names": ["a", "b"],
        "by_name": {"a": 1},
        "share": 0.5,
    }
    assert upload(form(('name="names"', "all"), FILE)).json()["body"]["names"] == "all"
    wrong = [('name="by_name"', "a=1"), ('name="share"', "half"), ('name="size"', "1"), FILE]
    assert {error["pointer"] for error in problem(upload(form(*wrong)), 422)["errors"]} == {
        "/by_name",
        "/share",
        "/size",
    }


def test_an_upload_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert upload(GOOD).status == 200
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (form(('name="product"', "cards")), {}, 422),
        (form(('name="product"', "a\0b"), ('name="file"; filename="x"', "y")), {}, 422),
        (form(*[('name="file"; filename="x"', "y")] * 2), {}, 422),
        (form(*[('name="file"; filename="x"', "y")] * 3), {}, 400),
        (form(('name="rows"; filename="x"', "y")), {}, 422),
        (b"no form at all", {}, 400),
        (GOOD, {"content-type": "multipart/form-data"}, 400),
        (GOOD[:-12], {}, 422),
        ([GOOD[:50], GONE], {}, 400),
        (GOOD, {"content-length": "501"}, 413),
        (GOOD, {"content-length": "many"}, 422),
    ],
    ids=[
        *(
            "no file",
            "a NUL",
            "two files",
            "three files",
            "another part",
            "no form",
            "no boundary",
            "cut short",
            "hung up",
            "too large",
            "no length",
        ),
    ],
)
def test_a_form_that_is_none_is_refused(body: bytes | list[Any], headers: dict[str, str], status: int) -> None:
    problem(upload(body, headers), status)
