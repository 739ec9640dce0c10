"""The comparison: all contenders run, one at a time is under load, rounds are interleaved, medians are kept."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.benchmarks import equivalence
from lab.benchmarks.contender import SERVER_CORE, Contender, Running
from lab.benchmarks.model import Workload
from lab.errors import LabError, LoadFailed
from lab.load.closed_loop import ClosedLoop
from lab.load.generator import DEFAULT_CONNECTIONS
from lab.process import Memory
from lab.procfs import core_busy_seconds


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float
    warm_up_seconds: float


FULL = Plan(rounds=5, seconds=10, warm_up_seconds=5)
QUICK = Plan(rounds=2, seconds=3, warm_up_seconds=1)


@dataclass(frozen=True)
class Round:
    """`cpu_us`: CPU time per request, counted until the server is idle; `backlog_seconds`: how long that took.

    `disturbed`: the share of the server's core, in [0, 1], that other processes used.
    """

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_us: float
    backlog_seconds: float
    disturbed: float
    requests: int
    errors: int


@dataclass(frozen=True)
class Outcome:
    """Medians over the rounds.

    `failed`: why the figures do not count, if they do not. `remark`: what a reader must know of them.
    """

    name: str
    title: str
    failed: str | None
    per_second: float = 0.0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    cpu_us: float = 0.0
    backlog_seconds: float = 0.0
    disturbed: float = 0.0
    total_mib: float = 0.0
    largest_mib: float = 0.0
    rounds: tuple[Round, ...] = ()
    remark: str | None = None


def run(
    contenders: Sequence[Contender], workload: Workload, plan: Plan, folder: Path, report: Callable[[str], None]
) -> list[Outcome]:
    """Measure every contender; one that fails has an outcome that says so."""
    with ExitStack() as stack:
        up: dict[str, Running] = {}
        sent: dict[str, int] = {}
        failed: dict[str, str] = {}
        for contender in contenders:
            report(f"starting {contender.name}")
            try:
                home = folder / contender.name
                home.mkdir()
                up[contender.name] = stack.enter_context(contender.start(workload, home))
                equivalence.check(contender, up[contender.name], workload)
                warm_up = ClosedLoop(up[contender.name].target, plan.warm_up_seconds, offset=equivalence.CHECKED).run()
                sent[contender.name] = equivalence.CHECKED + warm_up.requests
                up[contender.name].process.quiesce()
            except LoadFailed:
                raise  # the generator's fault, not the contender's
            except LabError as failure:
                failed[contender.name] = str(failure)
        rounds: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
        for number in range(plan.rounds):
            # Every other round backwards, so that none is always measured right after the same neighbour.
            for name, running in list(up.items())[:: -1 if number % 2 else 1]:
                if name not in failed:
                    report(f"round {number + 1} of {plan.rounds}: {name}")
                    rounds[name].append(one_round(running, plan.seconds, sent[name]))
                    sent[name] += rounds[name][-1].requests
        for name, running in up.items():
            if name not in failed and (fault := running.fault()):
                failed[name] = fault
        remarks = {name: running.remark() for name, running in up.items() if name not in failed}
        memory = {name: running.process.peak_memory() for name, running in up.items()}
    return [
        outcome(
            contender,
            rounds[contender.name],
            memory.get(contender.name, Memory(0, 0)),
            failed.get(contender.name),
            remarks.get(contender.name),
        )
        for contender in contenders
    ]


def one_round(running: Running, seconds: float, offset: int, connections: int = DEFAULT_CONNECTIONS) -> Round:
    """Measure at full load; `offset`: how many bodies to skip, so that no cache is warm."""
    started, cpu_before, core_before = time.monotonic(), running.process.cpu_seconds(), core_busy_seconds(SERVER_CORE)
    load = ClosedLoop(running.target, seconds, offset=offset, connections=connections).run()
    backlog_seconds = running.process.quiesce()
    cpu_seconds = running.process.cpu_seconds() - cpu_before
    others_seconds = core_busy_seconds(SERVER_CORE) - core_before - cpu_seconds
    return Round(
        per_second=load.per_second,
        p50_ms=load.p50_ms,
        p95_ms=load.p95_ms,
        p99_ms=load.p99_ms,
        cpu_us=cpu_seconds * 1e6 / max(load.requests, 1),
        backlog_seconds=backlog_seconds,
        disturbed=max(0.0, others_seconds / (time.monotonic() - started)),
        requests=load.requests,
        errors=load.errors,
    )


def outcome(
    contender: Contender, rounds: Sequence[Round], memory: Memory, failed: str | None, remark: str | None = None
) -> Outcome:
    """Summarize the rounds. A contender failed if any request got no 2xx answer."""
    errors = sum(one.errors for one in rounds)
    if failed is None and errors:
        failed = f"{errors} of {sum(one.requests for one in rounds)} requests failed"
    if not rounds:
        return Outcome(contender.name, contender.title, failed or "no round was run")
    columns = ("per_second", "p50_ms", "p95_ms", "p99_ms", "cpu_us", "backlog_seconds", "disturbed")
    medians = {column: statistics.median(asdict(one)[column] for one in rounds) for column in columns}
    return Outcome(
        contender.name,
        contender.title,
        failed,
        **medians,
        total_mib=memory.total_mib,
        largest_mib=memory.largest_mib,
        rounds=tuple(rounds),
        remark=remark,
    )
