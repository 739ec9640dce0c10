"""The figures of the archive, of backtests beside pandas and onnxruntime, and of training sets."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import partial
from statistics import median

from archive.parts.manifest import Folder
from lab.benchmarks.backtests.bench import Bench
from lab.benchmarks.backtests.child import ChildRun
from lab.benchmarks.model import PRODUCT
from lab.benchmarks.report import Goal
from lab.benchmarks.scale.finding import Finding, MeasurementFailed, Row, growth, slope
from lab.benchmarks.scale.workspace import Workspace

# Many days take so long that the seconds of the start hardly count.
FEW_DAYS, MANY_DAYS = 2, 24
# pandas holds all of them in memory.
MANY_DAYS_IN_MEMORY = 8
ROUNDS = 3
# The larger archived day, times the smaller: a real day has millions of rows, and the start counts less.
ARCHIVED_TIMES = 4
MAX_PEAK_MIB = 400.0
MAX_GROWTH = 1.15  # of memory, from FEW_DAYS to MANY_DAYS
_PEAK = "largest process, MiB"
ELSEWHERE = "other work, % of the cores"
_REPLAYED = re.compile(r"replayed in ([\d,.]+) s, ([\d,]+) events/s")


# In the order of the documents.
NAMES = ("archive", "replay", "many", "export")


def measure(workspace: Workspace) -> Iterator[tuple[str, Finding]]:
    """Yield the name and the finding of each part; raises MeasurementFailed."""
    with workspace.database(durable=False) as database:
        bench = Bench.prepare(workspace, database)
        yield "archive", _archive(bench)
        bench.add_copies(MANY_DAYS - 1)
        yield "replay", _replay(bench)
        yield "export", _export(bench)


def measure_many(workspace: Workspace, events: int) -> Iterator[tuple[str, Finding]]:
    """Yield how long a backtest of at least so many events takes; raises MeasurementFailed."""
    with workspace.database(durable=False) as database:
        bench = Bench.prepare(workspace, database)
        bench.fill(bench.original.day, bench.rows)
        _archived(bench, bench.original.day, bench.rows)
        days = -(-events // bench.rows)
        bench.add_copies(days - 1)
        rows = [_replayed_many(bench, processes, days) for processes in (1, 2)]
    one, two = rows
    goals = (
        Goal("minutes for 20,000,000 events on two cores", 4.0, 20e6 / float(two["events/s"]) / 60, at_most=True),
        Goal("two processes, times one, by the clock", 1.8, float(two["events/s"]) / float(one["events/s"])),
        Goal("largest process, MiB", MAX_PEAK_MIB, max(float(row[_PEAK]) for row in rows), at_most=True),
    )
    conditions = "Copies of an archived day, each with other times and ids; 300 trees, 11 fields; one run of each."
    yield "many", Finding("A backtest of many events", conditions, tuple(rows), (), goals)


def _replayed_many(bench: Bench, processes: int, days: int) -> Row:
    row = _replayed(bench, processes=processes, days=days)
    minutes = float(row["events"]) / float(row["events/s"]) / 60
    return {"days": days, "processes": processes, "minutes": minutes, **row}


def _archive(bench: Bench) -> Finding:
    days = {bench.rows: bench.original.day, ARCHIVED_TIMES * bench.rows: bench.original.day - timedelta(days=300)}
    rows = []
    for size, day in days.items():
        bench.fill(day, size)
        rows.append(_archived(bench, day, size))
    large = rows[-1]
    spent = [{"rows": row["rows"], "CPU s": float(row["rows"]) / float(row["rows/CPU s"])} for row in rows]
    return Finding(
        "Archiving a day",
        "The demo's payments with eleven fields, random event ids and scores. One process reads rows from Postgres,"
        " which shares the cores with it, writes Parquet, stores it and reads it back. CPU s is the process's own.",
        tuple(rows),
        (
            f"Besides the start, a row takes {1e6 * slope(spent, 'rows', 'CPU s'):.1f} µs of processor time.",
            growth(rows, "rows", "rows/s", "peak MiB"),
        ),
        (
            Goal("rows archived per second, by the clock", 60_000, float(large["rows/s"])),
            Goal("rows archived per second of the process's processor time", 60_000, float(large["rows/CPU s"])),
            Goal("bytes of Parquet per event", 100, float(large["Parquet bytes/event"]), at_most=True),
            Goal("peak of the archiving process, MiB", MAX_PEAK_MIB, float(large["peak MiB"]), at_most=True),
        ),
    )


def _archived(bench: Bench, day: date, size: int) -> Row:
    done = bench.run("lab.benchmarks.backtests.archiving", day.isoformat())
    found = json.loads(done.output)
    if found["rows"] != size:
        raise MeasurementFailed(f"{found['rows']} of {size} rows were archived")
    stored = sum(path.stat().st_size for path in bench.path_of(Folder("log", PRODUCT, day)).iterdir())
    return {
        "rows": size,
        "rows/s": size / found["seconds"],
        "rows/CPU s": size / found["cpu_seconds"],
        "Parquet bytes/event": found["bytes"] / size,
        "bytes/event, all files": stored / size,
        "peak MiB": done.peak_mib,
    }


def _replay(bench: Bench) -> Finding:
    _check_decisions(bench)
    ways: dict[tuple[str, int], Callable[[], Row]] = {
        (name, days): partial(way, bench, days=days)
        for name, way, many in (
            ("one process", partial(_replayed, processes=1), MANY_DAYS),
            ("two processes", partial(_replayed, processes=2), MANY_DAYS),
            ("pandas and onnxruntime", _whole_frame, MANY_DAYS_IN_MEMORY),
        )
        for days in (FEW_DAYS, many)
    }
    found: dict[tuple[str, int], list[Row]] = {way: [] for way in ways}
    for _ in range(1 if bench.workspace.quick else ROUNDS):
        for way, run in ways.items():
            found[way].append(run())
    rows = tuple(_medians(name, same) for (name, _), same in found.items())
    one, two, naive = rows[0:2], rows[2:4], rows[4:6]
    costs = [1e6 * slope(pair, "events", "CPU s") for pair in (one, two, naive)]
    return Finding(
        "Backtests",
        "300 trees, 11 fields, one event in fifty with a label; archived days on a local disk, verified before they are"
        " read. events/s is from the start of the processes to the sums, CPU s that of the whole command. pandas reads"
        " all parts into one frame and onnxruntime scores it in one run, with one thread; labels and amounts are left"
        " out.",
        rows,
        (
            "Besides the start of the command, an event takes"
            f" {costs[0]:.1f} µs of processor time with one process, {costs[1]:.1f} µs with two, and {costs[2]:.1f} µs"
            " with pandas and onnxruntime.",
            growth(one, "events", _PEAK),
            f"pandas: {growth(naive, 'events', _PEAK)}",
        ),
        (
            Goal("events/s, one process, by the clock", 100_000, float(one[1]["events/s"])),
            Goal("events per second of a core's processor time", 100_000, 1e6 / costs[0]),
            Goal("two processes, times one, by the clock", 1.8, float(two[1]["events/s"]) / float(one[1]["events/s"])),
            Goal("two processes, times one, on cores of their own (by processor time)", 1.8, 2 * costs[0] / costs[1]),
            Goal(_PEAK, MAX_PEAK_MIB, max(float(row[_PEAK]) for row in (*one, *two)), at_most=True),
            Goal(
                f"memory of {MANY_DAYS} days, times {FEW_DAYS}",
                MAX_GROWTH,
                float(one[1][_PEAK]) / float(one[0][_PEAK]),
                at_most=True,
            ),
        ),
    )


def _check_decisions(bench: Bench) -> None:
    """Raise MeasurementFailed unless both ways decide the same."""
    report = json.loads(bench.backtest(1, 1, "--json").output)
    ours: dict[str, int] = {}
    for count in report["decisions"]:
        ours[count["after"]] = ours.get(count["after"], 0) + count["events"]
    theirs = json.loads(_run_whole_frame(bench, 1).output)["after"]
    if {name: events for name, events in ours.items() if events} != theirs:
        raise MeasurementFailed(f"pandas and onnxruntime decide {theirs}, the backtest {ours}")


def _replayed(bench: Bench, *, processes: int, days: int) -> Row:
    done = bench.backtest(processes, days)
    return _row(done, days * bench.rows, _seconds(done))


def _seconds(done: ChildRun) -> float:
    """Return the seconds that a backtest says it took."""
    found = _REPLAYED.search(done.output)
    if found is None:
        raise MeasurementFailed(f"the backtest printed no time: {done.output[-200:]}")
    return float(found[1].replace(",", ""))


def _whole_frame(bench: Bench, *, days: int) -> Row:
    done = _run_whole_frame(bench, days)
    found = json.loads(done.output)
    return _row(done, found["events"], found["seconds"])


def _run_whole_frame(bench: Bench, days: int) -> ChildRun:
    thresholds = bench.version.thresholds
    return bench.run(
        "lab.benchmarks.backtests.whole_frame", str(bench.workspace.workload.model_path), str(thresholds.review),
        str(thresholds.block), *map(str, bench.parts(days)),
    )  # fmt: skip


def _row(done: ChildRun, events: int, seconds: float) -> Row:
    return {
        "events": events,
        "events/s": events / seconds,
        "CPU s": done.cpu_seconds,
        _PEAK: done.peak_mib,
        ELSEWHERE: 100 * done.elsewhere,
    }


def _medians(name: str, rows: list[Row]) -> Row:
    first, *_ = rows
    figures = {heading: median(float(row[heading]) for row in rows) for heading in first if heading != "events"}
    return {"": name, "events": first["events"], **figures}


def _export(bench: Bench) -> Finding:
    rows = []
    for days in (FEW_DAYS, MANY_DAYS):
        done = bench.export(days)
        exported = json.loads(done.output)
        if exported["events"] != days * bench.rows:
            raise MeasurementFailed(f"{exported['events']} of {days * bench.rows} events were exported")
        rows.append(_row(done, exported["events"], done.seconds))
    return Finding(
        "Training sets",
        "`archive export` of archived days, each event once, with labels from Postgres; the whole command.",
        tuple(rows),
        (
            f"Besides the start of the command, an event takes {1e6 * slope(rows, 'events', 'CPU s'):.1f} µs of"
            " processor time.",
            growth(rows, "events", _PEAK),
        ),
        (Goal("peak of the export, MiB", MAX_PEAK_MIB, float(rows[-1][_PEAK]), at_most=True),),
    )
