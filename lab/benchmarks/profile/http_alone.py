"""The direct protocol without an endpoint: what HTTP, the sockets and the event loop cost per request.

Run by threads.py: `python -m lab.benchmarks.profile.http_alone PORT`.
"""

import sys

import uvicorn
from starlette.types import Receive, Scope, Send

from edge.http.direct_cycle import DirectCycle
from edge.http.protocol import STATE_KEY, DirectProtocol
from scoring.job import Answer

ANSWER = Answer("00000000-0000-8000-8000-000000000113", 0.25, "allow", "m" * 36, "1.0.0", "production", False)


class AnswersAtOnce:
    """The interface that the protocol needs of an endpoint, with a constant answer."""

    def admit(self, request: DirectCycle, authorization: bytes | None) -> None:
        pass

    def submit(self, body: bytes, reply: DirectCycle) -> None:
        reply.set_result(ANSWER)

    def release(self, request: DirectCycle) -> None:
        pass

    def count(self, status: int) -> None:
        pass


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        scope["state"][STATE_KEY] = AnswersAtOnce()
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), http=DirectProtocol, loop="uvloop", access_log=False, log_config=None)
