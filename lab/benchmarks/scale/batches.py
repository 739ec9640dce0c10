"""POST /v1/infer/batch: events a second on one core, by the number of events a batch."""

import http.client
import json
import secrets
import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from lab.benchmarks.contender import EVENT_HEAD, event_tail
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth
from lab.benchmarks.scale.room import Room
from lab.benchmarks.served import Sira, serving

CLIENTS = 4  # each waits for its answer: enough that the server never does
TAG = b"@@tag@@@@@"  # stands in every event id, and is replaced in each batch sent: no event is sent twice


def measure(room: Room) -> Finding:
    seconds = 3.0 if room.quick else 8.0
    with serving(room.workload, room.folder) as served:
        rows = tuple(_row(room, served, size, seconds) for size in (10, 100, 1000))
    return Finding(
        "The batch route",
        f"One worker on core 0, {CLIENTS} connections, distinct payloads, every event its own row of the log.",
        rows,
        (growth(rows, "events a batch", "events/s"),),
        (Goal("batch route, events/s a core", 100_000, max(float(row["events/s"]) for row in rows)),),
    )


def _row(room: Room, served: Sira, size: int, seconds: float) -> Row:
    room.say(f"batches of {size}")
    bodies = _bodies(room, size)
    served.server.quiesce()
    cpu, started = served.server.cpu_seconds(), time.monotonic()
    answered = _drive(served, bodies, seconds)
    elapsed = time.monotonic() - started
    served.server.quiesce()
    cpu = served.server.cpu_seconds() - cpu
    return {
        "events a batch": size,
        "events/s": answered * size / elapsed,
        "batches/s": answered / elapsed,
        "CPU µs/event": cpu * 1e6 / (answered * size),
    }


def _bodies(room: Room, size: int) -> list[bytes]:
    payloads = room.workload.payloads
    events = [f"{EVENT_HEAD}{TAG.decode()}{n}{event_tail(payload)}" for n, payload in enumerate(payloads)]
    groups = [events[first : first + size] for first in range(0, len(events), size)]
    return [f'{{"events":[{",".join(group)}]}}'.encode() for group in groups]


def _drive(served: Sira, bodies: Sequence[bytes], seconds: float) -> int:
    """How many batches were answered in full."""
    until = time.monotonic() + seconds
    counts = [0] * CLIENTS
    faults: list[str] = []

    def client(number: int) -> None:
        url = urlsplit(served.service.base)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
        headers = {"Authorization": f"Bearer {served.service.token}"}
        at = number * len(bodies) // CLIENTS
        while time.monotonic() < until and not faults:
            body = bodies[at % len(bodies)].replace(TAG, secrets.token_hex(5).encode())
            connection.request("POST", "/v1/infer/batch", body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200 or b'"error"' in answer:
                faults.append(f"HTTP {response.status}: {json.loads(answer)}"[:300])
            counts[number] += 1
            at += 1
        connection.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    if faults:
        raise MeasurementFailed(faults[0])
    return sum(counts)
