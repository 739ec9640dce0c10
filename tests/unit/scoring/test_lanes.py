"""Slow models score off the event loop, each in a lane of its own."""

import asyncio
import threading
import time
from pathlib import Path

from scoring.lanes import Lanes
from scoring.models.onnx_model import Run
from tests.support.table_model import loaded, table_model


def test_submissions_that_wait_share_the_next_run_and_each_gets_its_own_rows(tmp_path: Path) -> None:
    model = loaded(tmp_path, table_model([n / 100 for n in range(50)], spins=[0, 0] + [300] * 48))

    async def scores() -> list[list[float]]:
        lanes = Lanes()
        loop = asyncio.get_running_loop()
        waiting = []
        for n in range(2, 12):
            done: asyncio.Future[Run] = loop.create_future()
            lanes.submit(model, [(float(n),), (float(n + 1),)], done.set_result)
            waiting.append(done)
        runs = await asyncio.wait_for(asyncio.gather(*waiting), 20)
        lanes.close()
        assert len({run.seconds for run in runs}) == 2, "the first went alone, the other nine together"
        return [[round(score or 0, 2) for score in run.scores] for run in runs]

    assert asyncio.run(scores()) == [[n / 100, (n + 1) / 100] for n in range(2, 12)]


def test_a_model_that_raises_fails_its_lane_s_rows_and_no_others(tmp_path: Path) -> None:
    bad, good = (loaded(tmp_path, table_model([0.25, 0.75], spins=[1, 1])) for _ in range(2))

    async def runs() -> tuple[Run, Run]:
        lanes = Lanes()
        loop = asyncio.get_running_loop()
        first: asyncio.Future[Run] = loop.create_future()
        second: asyncio.Future[Run] = loop.create_future()
        lanes.submit(bad, [(7.0,)], first.set_result)
        lanes.submit(good, [(1.0,)], second.set_result)
        both = await asyncio.wait_for(asyncio.gather(first, second), 20)
        lanes.close()
        return both[0], both[1]

    failed, scored = asyncio.run(runs())
    assert failed.scores == [None]
    assert scored.scores == [0.75]


def test_a_slow_lane_delays_neither_the_loop_nor_another_lane(tmp_path: Path) -> None:
    slow = loaded(tmp_path, table_model([0.0, 0.0, 0.5], spins=[1, 1, 20_000]))
    quick = loaded(tmp_path, table_model([0.25, 0.75], spins=[1, 1]))

    async def seconds_until_quick_is_done() -> float:
        lanes = Lanes()
        loop = asyncio.get_running_loop()
        slow_done: asyncio.Future[Run] = loop.create_future()
        quick_done: asyncio.Future[Run] = loop.create_future()
        started = time.perf_counter()
        lanes.submit(slow, [(2.0,)], slow_done.set_result)
        lanes.submit(quick, [(1.0,)], quick_done.set_result)
        await asyncio.wait_for(quick_done, 20)
        took = time.perf_counter() - started
        assert not slow_done.done()
        run = await asyncio.wait_for(slow_done, 60)
        assert took < run.seconds / 2
        lanes.close()
        return took

    assert asyncio.run(seconds_until_quick_is_done()) < 1.0


def test_answers_are_given_on_the_event_loop(tmp_path: Path) -> None:
    model = loaded(tmp_path, table_model([0.25, 0.75], spins=[1, 1]))

    async def thread_of_the_answer() -> int:
        lanes = Lanes()
        answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        lanes.submit(model, [(1.0,)], lambda run: answered.set_result(threading.get_ident()))
        ident = await asyncio.wait_for(answered, 20)
        lanes.close()
        return ident

    assert asyncio.run(thread_of_the_answer()) == threading.get_ident()
