"""The operators whose results this reader follows. Any other makes new columns of all that it reads."""

from scoring.reasons.graph import arithmetic, linear, structure
from scoring.reasons.graph.node_call import NodeCall, Operator, new_columns
from scoring.reasons.graph.symbols import Symbolic


def interpret(call: NodeCall) -> Symbolic:
    """Return the value of a node's first output."""
    operator = _OPERATORS.get((call.node.domain or "ai.onnx", call.node.op_type))
    value = operator(call) if operator else None
    if value is not None and value.shape == call.shape():
        return value
    return new_columns(call)


_OPERATORS: dict[tuple[str, str], Operator] = {
    **{("ai.onnx", name): structure.same for name in ("Identity", "Dropout")},
    **{("ai.onnx", name): structure.reshape for name in ("Reshape", "Flatten", "Squeeze", "Unsqueeze")},
    ("ai.onnx", "Abs"): arithmetic.absolute,
    ("ai.onnx", "Add"): arithmetic.add,
    ("ai.onnx", "Cast"): structure.cast,
    ("ai.onnx", "Concat"): structure.concat,
    ("ai.onnx", "Div"): arithmetic.divide,
    ("ai.onnx", "Exp"): arithmetic.exponential,
    ("ai.onnx", "Gather"): structure.gather,
    ("ai.onnx", "Gemm"): linear.gemm,
    ("ai.onnx", "MatMul"): linear.matmul,
    ("ai.onnx", "Mean"): arithmetic.mean_of_all,
    ("ai.onnx", "Mul"): arithmetic.multiply,
    ("ai.onnx", "Neg"): arithmetic.negate,
    ("ai.onnx", "ReduceMean"): arithmetic.reduce_mean,
    ("ai.onnx", "ReduceSum"): arithmetic.reduce_sum,
    ("ai.onnx", "Sigmoid"): arithmetic.logistic,
    ("ai.onnx", "Slice"): structure.slice_,
    ("ai.onnx", "Softmax"): arithmetic.softmax,
    ("ai.onnx", "Sub"): arithmetic.subtract,
    ("ai.onnx", "Sum"): arithmetic.add_all,
    ("ai.onnx", "Transpose"): structure.transpose,
    ("ai.onnx.ml", "ArrayFeatureExtractor"): structure.extract,
    ("ai.onnx.ml", "FeatureVectorizer"): structure.concat,
    ("ai.onnx.ml", "LinearRegressor"): linear.linear_regressor,
    ("ai.onnx.ml", "Normalizer"): arithmetic.normalizer,
    ("ai.onnx.ml", "OneHotEncoder"): structure.one_hot,
    ("ai.onnx.ml", "Scaler"): arithmetic.scaler,
}
