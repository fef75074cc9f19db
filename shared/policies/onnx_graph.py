"""An encoder written down in ONNX's own operators, one call each: a traced export takes seconds, this milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from shared.event_features import EVENT_FEATURES


class Graph:
    """Collects operators: `graph("Add", a, b)` is the name of the sum. Numbers and arrays become constants, floats as
    float32 and integers as int64."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str | ArrayLike, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operator; the name of its output, or the names where there are several."""
        names = [f"{operator}_{len(self._nodes)}_{n}" for n in range(outputs)]
        given = [own if isinstance(own, str) else self.constant(own) for own in inputs]
        self._nodes.append(helper.make_node(operator, given, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: ArrayLike) -> str:
        """Add a constant; its name."""
        array = np.asarray(value)
        if array.dtype != bool:
            array = array.astype(np.float32 if np.issubdtype(array.dtype, np.floating) else np.int64)
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def encoder(self, queries: str, dimension: int, heads: int = 1) -> bytes:
        """The model: products (B, T, D), features (B, T, F), lengths (B,) → queries (B, H, D), the output named."""
        self._nodes.append(helper.make_node("Identity", [queries], ["queries"]))
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [
                helper.make_tensor_value_info("products", TensorProto.FLOAT, ["B", "T", dimension]),
                helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", len(EVENT_FEATURES)]),
                helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
            ],
            [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", heads, dimension])],
            self._constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="freshet"
        )
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content
