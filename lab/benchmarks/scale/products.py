"""One product and fifty: what each more costs, at rest and when it is asked."""

import statistics
from collections.abc import Iterator

from lab.benchmarks.contender import event_tail
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, Row, growth, slope
from lab.benchmarks.scale.room import Room
from lab.benchmarks.scale.seed import add_products
from lab.benchmarks.served import serving
from lab.benchmarks.wrk import write_bodies

PROMOTIONS = 4


def measure(room: Room) -> Finding:
    rows = tuple(_row(room, products) for products in ((1, 10) if room.quick else (1, 10, 50)))
    each = slope(rows, "products", "RSS MiB")
    return Finding(
        "Products loaded",
        "Each product has a model of its own in memory, of 300 trees. One worker, 32 connections, first all of them"
        " asking one product, then all products in turn: a batch of waiting requests is then one run a product.",
        rows,
        (
            f"A product more takes {each:.1f} MiB.",
            growth(
                rows, "products", "start s", "requests/s, one asked", "requests/s, all asked", "promoted to served ms"
            ),
        ),
    )


def _row(room: Room, products: int) -> Row:
    room.say(f"{products} products")
    folder = room.folder / str(products)
    folder.mkdir()
    names = [PRODUCT, *(f"{PRODUCT}_{number}" for number in range(1, products))]
    seconds = 2 if room.quick else 8
    with serving(
        room.workload, folder, seed=lambda connection, version: add_products(connection, version, names[1:])
    ) as served:
        driver = Driver()
        one = driver.drive(served.running(), seconds)
        every = driver.drive(served.running(write_bodies(folder / "spread", _spread(room, names))), seconds)
        payload = room.workload.payloads[0]
        order = [served.models[variant] for variant in ("canary", "production")] * (PROMOTIONS // 2)
        promoted = [served.promote(model_id, payload) for model_id in order]
        return {
            "products": products,
            "start s": served.ready_seconds,
            "RSS MiB": served.server.resident_mib(),
            "requests/s, one asked": one.per_second,
            "requests/s, all asked": every.per_second,
            "CPU µs/request, all asked": every.cpu_us,
            "promoted to served ms": statistics.median(promoted) * 1e3,
        }


def _spread(room: Room, products: list[str]) -> Iterator[str]:
    for number, payload in enumerate(room.workload.payloads):
        yield event_tail(payload, products[number % len(products)])
