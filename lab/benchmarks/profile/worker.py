"""One serving worker alone, as BentoML runs it, over either protocol; it writes the ids of its threads to a file.

Run by threads.py: `python -m lab.benchmarks.profile.worker PORT direct|asgi FILE`, with settings in the environment.
"""

import json
import os
import sys
import threading
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.app import Edge
from edge.http.protocol import DirectProtocol
from runtime.settings import Settings

PROTOCOLS = {"direct": DirectProtocol, "asgi": HttpToolsProtocol}


def serve(port: int, protocol: str, names: Path) -> None:
    edge = Edge()

    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await edge.start(Settings.load())
        names.write_text(json.dumps({thread.name: thread.native_id for thread in threading.enumerate()}))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await edge.stop()
        await send({"type": "lifespan.shutdown.complete"})

    uvicorn.run(
        edge.in_front_of(lifespan),
        host="127.0.0.1",
        port=port,
        http=PROTOCOLS[protocol],
        loop="uvloop",
        access_log=False,
        log_config=None,
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
