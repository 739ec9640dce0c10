"""`python -m lab.benchmarks.backtests.whole_frame MODEL REVIEW BLOCK PART...`: the obvious backtest, in memory.

pandas reads every part into one frame, onnxruntime scores all of it in one run, and a cross table counts the decisions.
Nothing is checked, no label is joined, and there are no segments.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(string)": object,
}


def main(model: Path, review: float, block: float, parts: list[str]) -> None:
    started = time.perf_counter()
    frame = pandas.read_parquet(parts)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {
        one.name: frame[f"field_{one.name}"].to_numpy(_DTYPES[one.type]).reshape(-1, 1) for one in session.get_inputs()
    }
    probabilities = session.run(None, inputs)[-1][:, 1]
    decision = np.select([probabilities >= block, probabilities >= review], ["block", "review"], "allow")
    table = pandas.crosstab(frame["decision"], decision)
    found = {
        "events": len(frame),
        "seconds": time.perf_counter() - started,
        "after": {name: int(table[name].sum()) for name in table.columns},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4:])
