"""The sequence encoder: a GRU over the user's recent events, and one query vector per head.

State representation of self-supervised Q-learning (Xin et al., SIGIR 2020): one state, several heads.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from shared.state.histories import EVENT_FEATURES, FUTURE_FEATURES

# What the encoder's queries are for, in the order of its output: cross-entropy over the catalogue, and action values.
HEADS = ("ce", "q")

# Columns of the event features that the encoder reads.
COLUMNS = [column for column, name in enumerate(EVENT_FEATURES) if name not in FUTURE_FEATURES]


class Encoder(nn.Module):
    """Product vectors and event features of T events → a hidden state after each → a query per head.

    D: dimension of product vectors and hidden state. F: event features.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.product = nn.Linear(dimension, dimension, bias=False)
        self.feature = nn.Linear(len(COLUMNS), dimension)
        self.gru = nn.GRU(dimension, dimension, batch_first=True)
        self.heads = nn.Linear(dimension, len(HEADS) * dimension)

    def hidden(self, products: Tensor, features: Tensor, kept: Tensor | None = None) -> Tensor:
        """The state before any event and after each one.

        Args:
            products: (B, T, D)
            features: (B, T, F)
            kept: (B, T, D) dropout's factors, while learning.

        Returns:
            (B, T + 1, D); entry n is the state after n events, entry 0 is zeros.
        """
        inputs = self.product(products) + self.feature(features[..., COLUMNS])  # (B, T, D)
        if kept is not None:
            inputs = inputs * kept
        after: Tensor = self.gru(inputs)[0]  # (B, T, D)
        return torch.cat([torch.zeros_like(after[:, :1]), after], dim=1)

    def queries(self, state: Tensor) -> Tensor:
        """(B, D) states → (B, H, D) queries."""
        result: Tensor = self.heads(state).view(len(state), len(HEADS), self.dimension)
        return result


def at(hidden: Tensor, lengths: Tensor) -> Tensor:
    """(B, T + 1, D), (B,) → the state after `lengths` events, (B, D)."""
    return hidden[torch.arange(len(hidden)), lengths]


def folded(
    encoder: Encoder, head: str, output: NDArray[np.float32], bias: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A head's output vectors (A, D) and bias (A,) such that the state itself is their query: same scores, one query.

    (W s + b)·o + c = s·(Wᵀ o) + (b·o + c).
    """
    d, h = encoder.dimension, HEADS.index(head)
    rows = slice(h * d, (h + 1) * d)
    weight, offset = (tensor.detach()[rows].numpy() for tensor in (encoder.heads.weight, encoder.heads.bias))
    return output @ weight, output @ offset + bias


def to_onnx(encoder: Encoder) -> bytes:
    """The encoder as an ONNX model: products (B, T, D), features (B, T, F), lengths (B,) → the state (B, 1, D).

    Beside it the state after each event, (B, T, D), for whoever wants to know what each event changed.

    It is the one query of all heads; what each makes of it is put into the products' vectors by `folded`. Built from
    ONNX's own operators, since a traced export takes seconds and this takes milliseconds.
    """
    d = encoder.dimension
    weights = {name: tensor.detach().numpy() for name, tensor in encoder.state_dict().items()}

    def gates(name: str) -> np.ndarray:  # torch stacks reset, update, new; ONNX update, reset, new
        reset, update, new = np.split(weights[name], 3, axis=0)
        return np.concatenate([update, reset, new], axis=0)[None]

    feature_weight = np.zeros((len(EVENT_FEATURES), d), np.float32)
    feature_weight[COLUMNS] = weights["feature.weight"].T
    constants = {
        "product_weight": weights["product.weight"].T,
        "feature_weight": feature_weight,
        "feature_bias": weights["feature.bias"],
        "each_shape": np.array([0, 0, d], np.int64),
        "gru_w": gates("gru.weight_ih_l0"),
        "gru_r": gates("gru.weight_hh_l0"),
        "gru_b": np.concatenate([gates("gru.bias_ih_l0"), gates("gru.bias_hh_l0")], axis=1),
    }
    nodes = [
        helper.make_node("MatMul", ["products", "product_weight"], ["from_products"]),
        helper.make_node("MatMul", ["features", "feature_weight"], ["from_features"]),
        helper.make_node("Add", ["from_products", "from_features"], ["sum"]),
        helper.make_node("Add", ["sum", "feature_bias"], ["inputs"]),
        helper.make_node("Transpose", ["inputs"], ["by_time"], perm=[1, 0, 2]),
        helper.make_node(
            "GRU",
            ["by_time", "gru_w", "gru_r", "gru_b", "lengths"],
            ["each", "last"],
            hidden_size=d,
            linear_before_reset=1,
        ),
        helper.make_node("Transpose", ["last"], ["queries"], perm=[1, 0, 2]),  # (1, B, D)
        helper.make_node("Transpose", ["each"], ["each_by_user"], perm=[2, 0, 1, 3]),  # (B, T, 1, D)
        helper.make_node("Reshape", ["each_by_user", "each_shape"], ["after_each"]),  # (B, T, D)
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info("products", TensorProto.FLOAT, ["B", "T", d]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", len(EVENT_FEATURES)]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
        ],
        [
            helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["B", 1, d]),
            helper.make_tensor_value_info("after_each", TensorProto.FLOAT, ["B", "T", d]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="freshet")
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
