"""What the serving process does with failures that belong to no request."""

import asyncio
import logging

import pytest

from edge.serving import _log_failed_callback


def test_an_exception_in_a_callback_of_the_event_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail_in_a_callback() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_failed_callback)
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR, logger="sira.edge.serving"):
        asyncio.run(fail_in_a_callback())

    assert [(record.getMessage(), record.exc_info[0]) for record in caplog.records if record.exc_info] == [
        ("callback_failed", ZeroDivisionError)
    ]
