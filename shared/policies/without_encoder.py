"""What a policy that has no encoder publishes in its place: one that answers nothing, for heads that count nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.event_features import EVENT_FEATURES
from shared.models import NeighbourPart, Parts
from shared.neighbours import Neighbours
from shared.policies.policy import Learned

HEAD = "none"


def encoder_of_zeros() -> bytes:
    """An ONNX model with an encoder's inputs, D = 1, whose one query is 0."""
    import onnx  # for those who publish; the evaluator ranks by its baselines and publishes none
    from onnx import TensorProto, helper, numpy_helper

    constants: dict[str, NDArray[Any]] = {
        "nothing": np.zeros((1, 1), np.float32),
        "shape": np.array([-1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["lengths"], ["counted"], to=TensorProto.FLOAT),  # (B,)
        helper.make_node("Reshape", ["counted", "shape"], ["column"]),  # (B, 1, 1)
        helper.make_node("Mul", ["column", "nothing"], ["queries"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info("products", TensorProto.FLOAT, ["B", "T", 1]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", len(EVENT_FEATURES)]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
        ],
        [helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", 1, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="freshet")
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def learned_of(
    products: Sequence[str],
    *,
    popularity_weight: float = 1.0,
    neighbours: Mapping[str, tuple[NeighbourPart, Neighbours]] | None = None,
    bias: NDArray[np.float32] | None = None,
) -> Learned:
    """What to publish of a policy that is popularity, neighbours and, where given, a bias per product, (A,)."""
    a = len(products)
    neighbours = neighbours or {}
    parts = Parts(
        encoder=encoder_of_zeros(),
        input=np.zeros((a, 1), np.float32),
        outputs={HEAD: np.zeros((a, 1), np.float32)},
        biases={HEAD: np.zeros(a, np.float32) if bias is None else bias},
        products=list(products),
        neighbours={name: own for name, (_, own) in neighbours.items()},
    )
    return Learned(
        parts,
        heads={HEAD: 0.0 if bias is None else 1.0},
        popularity_weight=popularity_weight,
        neighbours={name: part for name, (part, _) in neighbours.items()},
    )
