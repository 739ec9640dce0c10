"""One product and fifty: what each additional product costs, idle and under load."""

import statistics
from collections.abc import Iterator

from lab.benchmarks.contender import event_tail
from lab.benchmarks.deployment import serving
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.scale.drive import Driver
from lab.benchmarks.scale.finding import Finding, Row, growth, slope
from lab.benchmarks.scale.seed import add_products
from lab.benchmarks.scale.workspace import Workspace
from lab.load.generator import write_bodies

PROMOTIONS = 4


def measure(workspace: Workspace) -> Finding:
    rows = tuple(_row(workspace, products) for products in ((1, 10) if workspace.quick else (1, 10, 50)))
    each = slope(rows, "products", "RSS MiB")
    return Finding(
        "Products loaded",
        "Each product has a model of 300 trees of its own in memory. One worker, 32 connections; first, every request"
        " is for one product, then all products are requested in turn, and a batch of waiting requests is one model run"
        " per product.",
        rows,
        (
            f"Each additional product takes {each:.1f} MiB.",
            growth(
                rows,
                "products",
                "start s",
                "requests/s, one product",
                "requests/s, all products",
                "promoted to served ms",
            ),
        ),
    )


def _row(workspace: Workspace, products: int) -> Row:
    workspace.report(f"{products} products")
    folder = workspace.folder / str(products)
    folder.mkdir()
    names = [PRODUCT, *(f"{PRODUCT}_{number}" for number in range(1, products))]
    seconds = 2 if workspace.quick else 8
    with serving(
        workspace.workload, folder, seed=lambda connection, version: add_products(connection, version, names[1:])
    ) as deployment:
        driver = Driver()
        one = driver.drive(deployment.running(), seconds)
        every = driver.drive(deployment.running(write_bodies(folder / "spread", _spread(workspace, names))), seconds)
        payload = workspace.workload.payloads[0]
        order = [deployment.models[variant] for variant in ("canary", "production")] * (PROMOTIONS // 2)
        promoted = [deployment.promote(model_id, payload) for model_id in order]
        return {
            "products": products,
            "start s": deployment.service.ready_seconds,
            "RSS MiB": deployment.process.resident_mib(),
            "requests/s, one product": one.per_second,
            "requests/s, all products": every.per_second,
            "CPU µs/request, all products": every.cpu_us,
            "promoted to served ms": statistics.median(promoted) * 1e3,
        }


def _spread(workspace: Workspace, products: list[str]) -> Iterator[str]:
    for number, payload in enumerate(workspace.workload.payloads):
        yield event_tail(payload, products[number % len(products)])
