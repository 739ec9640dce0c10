"""The other contenders: each has a folder under contenders/, a lock and a virtual environment of its own."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.benchmarks.contender import EVENT, EVENT_HEAD, SERVER_CORE, Contender, Running, Scored, Wire, event_tail
from lab.benchmarks.model import PRODUCT, Row, Workload
from lab.environments import lock, virtual_environment
from lab.load.generator import Target, write_bodies
from lab.ports import free_port
from lab.process import Process

HERE = Path(__file__).parent
CONTENDERS, VENVS = HERE / "contenders", HERE / ".venvs"
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Other:
    """`command` and `environment` may contain {bin}, {port}, {port2} and {port3}. `ready`: the path of a probe."""

    name: str
    command: tuple[str, ...]
    wire: Wire
    path: str
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def start(self, workload: Workload, folder: Path) -> Iterator[Running]:
        ports = {
            "port": free_port(),
            "port2": free_port(),
            "port3": free_port(),
            "bin": virtual_environment(CONTENDERS / self.name, VENVS / self.name),
        }
        environment = os.environ | {name: value.format_map(ports) for name, value in self.environment.items()}
        environment |= {
            "MODEL_PATH": str(workload.model_path),
            "ORT_DISABLE_TELEMETRY": "1",
            "BENTOML_DO_NOT_TRACK": "1",
        }
        base = f"http://127.0.0.1:{ports['port']}"
        with Process(
            [part.format_map(ports) for part in self.command],
            name=self.name,
            cwd=CONTENDERS / self.name,
            environment=environment,
            log=folder / "server.log",
            cores=str(SERVER_CORE),
        ) as process:
            process.wait_ready(base + self.ready, READY_SECONDS)
            bodies = write_bodies(folder / "bodies", map(self.wire.tail, workload.payloads))
            yield Running(process, Target(base + self.path, self.wire.head, bodies))


def lock_all() -> None:
    """Resolve every contender's requirements.in again; needs uv on the PATH."""
    for folder in sorted(path.parent for path in CONTENDERS.glob("*/requirements.in")):
        lock(folder, "python -m lab.benchmarks lock")


def _tensor_tail(payload: Row) -> str:
    """Return the end of an Open Inference Protocol V2 request with one tensor per column."""
    inputs = [
        {"name": name, "shape": [1, 1], "datatype": "BYTES" if isinstance(value, str) else "FP32", "data": [value]}
        for name, value in payload.items()
    ]
    return '","inputs":' + json.dumps(inputs, separators=(",", ":")) + "}"


def _read_tensor(answer: Any) -> Scored:
    return Scored(answer["outputs"][0]["data"][0])


UVICORN = ("{bin}/python", "-m", "uvicorn", "app:app", "--port", "{port}", "--no-access-log", "--log-level", "warning")

OTHERS = {
    "BentoML, `@bentoml.api`": Other(
        "bentoml_documented",
        ("{bin}/bentoml", "serve", "service:FraudScore", "--host", "127.0.0.1", "--port", "{port}"),
        EVENT,
        path="/infer",
        ready="/readyz",
        environment={"BENTOML_HOME": "{bin}/../home"},
    ),
    "FastAPI + onnxruntime": Other("fastapi_onnxruntime", UVICORN, EVENT, path="/infer", ready="/openapi.json"),
    "MLServer, custom runtime": Other(
        "mlserver",
        ("{bin}/mlserver", "start", "."),
        Wire('{"id":"', _tensor_tail, _read_tensor),
        path=f"/v2/models/{PRODUCT}/infer",
        ready=f"/v2/models/{PRODUCT}/ready",
        environment={
            "MLSERVER_HTTP_PORT": "{port}",
            "MLSERVER_GRPC_PORT": "{port2}",
            "MLSERVER_METRICS_PORT": "{port3}",
        },
    ),
    "uvicorn, empty answer (the limit)": Other(
        "uvicorn_empty", UVICORN, Wire(EVENT_HEAD, event_tail, None), path="/infer", ready="/"
    ),
}


def contenders() -> list[Contender]:
    return [Contender(other.name, title, other.wire, other.start) for title, other in OTHERS.items()]
