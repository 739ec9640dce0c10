"""A batch is complete when each of its events has an outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from scoring.batch_reply import AnswerOrError, BatchReply
from scoring.job import Answer

T = TypeVar("T")
FAULT = ValueError("no")


def answer(number: int) -> Answer:
    return Answer(str(number), 0.5, "allow", "m", "1", "production", False)


def on_a_loop(do: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await asyncio.wait_for(do(), 20)

    return asyncio.run(run())


def test_outcomes_are_in_the_order_of_the_events_whenever_they_come() -> None:
    async def outcomes() -> list[AnswerOrError]:
        reply = BatchReply(4)
        reply.at(3).set_exception(FAULT)
        reply.put([2, 0], [answer(2), answer(0)])
        assert not reply.complete.done()
        assert not reply.at(1).done()
        reply.at(1).set_result(answer(1))
        assert reply.at(1).done()
        return await reply.complete

    assert on_a_loop(outcomes) == [answer(0), answer(1), answer(2), FAULT]


def test_no_event_is_no_outcome() -> None:
    async def outcomes() -> list[AnswerOrError]:
        return await BatchReply(0).complete

    assert on_a_loop(outcomes) == []


def test_answers_that_nobody_waits_for_are_dropped() -> None:
    async def late() -> bool:
        reply = BatchReply(1)
        reply.complete.cancel()
        done = reply.at(0).done()
        reply.put([0], [answer(0)])
        return done

    assert on_a_loop(late)
