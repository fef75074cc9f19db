"""The policy `gru4rec`: a recurrent network over a user's recent products, with a full softmax.

Session-based recommendations with recurrent neural networks (Hidasi et al., ICLR 2016), with cross-entropy and one
vector per product for input and output, as its authors later found best (Hidasi & Karatzoglou, CIKM 2018).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from shared.policies.onnx_graph import Graph
from shared.policies.sequence_policy import SequencePolicy
from shared.policies.sequences import Keep, SequenceNetwork

INITIAL_SCALE = 0.05


class Recurrent(SequenceNetwork):
    """A GRU whose state after the newest product is mapped to the query."""

    def __init__(self, products: int, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.vectors = nn.Parameter(INITIAL_SCALE * torch.randn(products, dimension))
        self.gru = nn.GRU(dimension, dimension, batch_first=True)
        self.out = nn.Linear(dimension, dimension)

    def encode(self, vectors: Tensor, lengths: Tensor, keep: Keep | None = None) -> Tensor:
        """(B, T, D), padded at the end by zeros, and (B,), each at least 1 → (B, D)."""
        if keep is not None:
            vectors = vectors * keep(tuple(vectors.shape))
        after = self.gru(vectors)[0]  # (B, T, D)
        state = after[torch.arange(len(after)), lengths - 1]
        if keep is not None:
            state = state * keep(tuple(state.shape))
        result: Tensor = self.out(state)
        return result


class Gru4RecPolicy(SequencePolicy):
    """The network, fitted at fixed points."""

    name = "gru4rec"

    def network(self, products: int) -> Recurrent:
        """An unfitted network."""
        return Recurrent(products, self._dimension)

    def encoder(self) -> bytes:
        """The network in ONNX's operators."""
        assert self._network is not None, "it is fitted"  # noqa: S101
        weights = {name: tensor.numpy() for name, tensor in self._network.state_dict().items()}

        def gates(name: str) -> np.ndarray:  # torch stacks reset, update, new; ONNX update, reset, new
            reset, update, new = np.split(weights[f"gru.{name}_l0"], 3, axis=0)
            return np.concatenate([update, reset, new], axis=0)[None]

        graph = Graph()
        _, last = graph(
            "GRU",
            graph("Transpose", "products", perm=[1, 0, 2]),
            gates("weight_ih"),
            gates("weight_hh"),
            np.concatenate([gates("bias_ih"), gates("bias_hh")], axis=1),
            "lengths",
            outputs=2,
            hidden_size=self._dimension,
            linear_before_reset=1,
        )  # (1, B, D)
        query = graph("Add", graph("MatMul", last, weights["out.weight"].T), weights["out.bias"])
        return graph.encoder(graph("Transpose", query, perm=[1, 0, 2]), self._dimension)
