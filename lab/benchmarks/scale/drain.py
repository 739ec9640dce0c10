"""A process that ships the spool of a folder to Postgres and reports when it began and ended.

Run by backlog.py: `python -m lab.benchmarks.scale.drain FOLDER`, with DATABASE_URL in the environment. It begins when
it reads a line from standard input.
"""

import json
import os
import sys
import time
from pathlib import Path

from scoring.log.shipper import Shipper
from scoring.log.spool import Spool

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    spool = Spool.open(folder, limit_bytes=1 << 40)
    shipper = Shipper(spool, folder, os.environ["DATABASE_URL"])
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.time(), time.process_time()
    shipper.start()
    while spool.waiting_rows:
        time.sleep(0.005)
    print(json.dumps({"began": began, "ended": time.time(), "cpu_seconds": time.process_time() - cpu}), flush=True)
    shipper.stop(10.0)
    spool.close()
