"""A GRU over a user's history as a version's encoder: one query for all heads, and the state after each event."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from shared.state.histories import EVENT_FEATURES

F = len(EVENT_FEATURES)


class Encoder(nn.Module):
    """Product vectors (B, T, D) and event features (B, T, F) → the state after each event, (B, T, D)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.product = nn.Linear(dimension, dimension, bias=False)
        self.feature = nn.Linear(F, dimension)
        self.gru = nn.GRU(dimension, dimension, batch_first=True)

    def forward(self, products: Tensor, features: Tensor) -> Tensor:
        """The state after each event."""
        result: Tensor = self.gru(self.product(products) + self.feature(features))[0]
        return result


def to_onnx(encoder: Encoder) -> bytes:
    """The encoder as versions hold it: products, features, lengths → the state after so many events, and after each."""
    d = encoder.dimension
    weights = {name: tensor.detach().numpy() for name, tensor in encoder.state_dict().items()}

    def gates(name: str) -> np.ndarray:  # torch stacks reset, update, new; ONNX update, reset, new
        reset, update, new = np.split(weights[f"gru.{name}_l0"], 3, axis=0)
        return np.concatenate([update, reset, new], axis=0)[None]

    constants = {
        "product_weight": weights["product.weight"].T,
        "feature_weight": weights["feature.weight"].T,
        "feature_bias": weights["feature.bias"],
        "shape": np.array([0, 0, d], np.int64),
        "w": gates("weight_ih"),
        "r": gates("weight_hh"),
        "b": np.concatenate([gates("bias_ih"), gates("bias_hh")], axis=1),
    }
    nodes = [
        helper.make_node("MatMul", ["products", "product_weight"], ["from_products"]),
        helper.make_node("MatMul", ["features", "feature_weight"], ["from_features"]),
        helper.make_node("Sum", ["from_products", "from_features", "feature_bias"], ["inputs"]),
        helper.make_node("Transpose", ["inputs"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node(
            "GRU", ["by_time", "w", "r", "b", "lengths"], ["each", "last"], hidden_size=d, linear_before_reset=1
        ),
        helper.make_node("Transpose", ["last"], ["queries"], perm=[1, 0, 2]),  # (1, B, D) → (B, 1, D)
        helper.make_node("Transpose", ["each"], ["by_user"], perm=[2, 0, 1, 3]),  # (T, 1, B, D) → (B, T, 1, D)
        helper.make_node("Reshape", ["by_user", "shape"], ["after_each"]),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info("products", TensorProto.FLOAT, ["B", "T", d]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", F]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
        ],
        [
            helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", 1, d]),
            helper.make_tensor_value_info("after_each", TensorProto.FLOAT, ["B", "T", d]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def encoded(encoder: Encoder, products: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What torch says of one user's n events, (n, D) and (n, F): the state after each, (n, D)."""
    with torch.no_grad():
        result: np.ndarray = encoder(torch.from_numpy(products)[None], torch.from_numpy(features)[None])[0].numpy()
    return result
