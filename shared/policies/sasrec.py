"""The policy `sasrec`: self-attention over a user's recent products, a low-pass filter beside it, and a full softmax.

Self-attentive sequential recommendation (Kang & McAuley, ICDM 2018), with cross-entropy over the whole catalogue
(Klenitskiy & Vasilev, RecSys 2023) and BSARec's frequency filter (Shin et al., AAAI 2024, eqs. 5 to 9).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional

from shared.policies.onnx_graph import Graph
from shared.policies.sequence_policy import SequencePolicy
from shared.policies.sequences import Keep, SequenceNetwork

INITIAL_SCALE = 0.02
LOW_FREQUENCIES = 3  # of the filter, the constant among them
FILTER_WEIGHT = 0.7  # what the filter counts beside attention
LAYERS = 2
EPSILON = 1e-12  # of normalisation
FAR_BELOW = -1e30  # a logit that no share is left of


class Layer(nn.Module):
    """Filter and attention side by side, then a feed-forward step; each ends in a normalised sum with its input."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        d = dimension
        self.query_key_value = nn.Linear(d, 3 * d)
        self.mixed = nn.Linear(d, d)
        self.inner = nn.Linear(d, 4 * d)
        self.outer = nn.Linear(4 * d, d)
        self.high = nn.Parameter(torch.randn(d))  # its square: what high frequencies count beside low ones
        self.filtered_norm, self.attended_norm, self.norm = (nn.LayerNorm(d, eps=EPSILON) for _ in range(3))


class SelfAttention(SequenceNetwork):
    """Two layers over the vectors of up to `length` products, whose places are counted from the newest."""

    def __init__(self, products: int, dimension: int, length: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.vectors = nn.Parameter(torch.empty(products, dimension))
        self.places = nn.Parameter(torch.empty(length, dimension))
        self.norm = nn.LayerNorm(dimension, eps=EPSILON)
        self.layers = nn.ModuleList([Layer(dimension) for _ in range(LAYERS)])
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=INITIAL_SCALE)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        self.low = low_pass(length)

    def encode(self, vectors: Tensor, lengths: Tensor, keep: Keep | None = None) -> Tensor:
        """(B, T, D), padded at the end by zeros, and (B,), each at least 1 → (B, D)."""

        def dropped(x: Tensor) -> Tensor:
            return x if keep is None else x * keep(tuple(x.shape))

        t = torch.arange(vectors.shape[1])
        age = lengths[:, None] - 1 - t  # (B, T), below 0 where padded
        real = (age >= 0).unsqueeze(-1)
        x = dropped(self.norm(vectors + functional.embedding(age.clamp(min=0), self.places))) * real
        *layers, final = (cast(Layer, layer) for layer in self.layers)
        for layer in layers:
            x = _after(layer, x, x, t[None], self.low, dropped) * real
        last = lengths - 1  # the last layer need only say what is true after the newest event
        newest = x[torch.arange(len(x)), last][:, None]  # (B, 1, D)
        return _after(final, x, newest, last[:, None], self.low, dropped)[:, 0]


def _after(
    layer: Layer, x: Tensor, asked: Tensor, at: Tensor, low: Tensor, dropped: Callable[[Tensor], Tensor]
) -> Tensor:
    """What a layer makes of the Q places asked for: x (B, T, D), asked (B, Q, D), at (1 or B, Q) → (B, Q, D)."""
    d, steps = x.shape[2], x.shape[1]
    slow = low[at][:, :, :steps] @ x  # (B, Q, D)
    filtered = layer.filtered_norm(asked + dropped(slow + layer.high**2 * (asked - slow)))
    weight, bias = layer.query_key_value.weight, layer.query_key_value.bias
    query = functional.linear(asked, weight[:d], bias[:d])
    key, value = functional.linear(x, weight[d:], bias[d:]).chunk(2, dim=2)
    later = torch.arange(steps) > at.unsqueeze(-1)  # (1 or B, Q, T)
    share = torch.softmax((query @ key.transpose(1, 2) / math.sqrt(d)).masked_fill(later, -torch.inf), dim=2)
    attended = layer.attended_norm(asked + dropped(layer.mixed(dropped(share) @ value)))
    both = FILTER_WEIGHT * filtered + (1 - FILTER_WEIGHT) * attended
    result: Tensor = layer.norm(both + dropped(layer.outer(functional.gelu(layer.inner(both)))))
    return result


def low_pass(length: int) -> Tensor:
    """The projection of a sequence on its lowest frequencies, (T, T): irfft of the first few of rfft."""
    spectrum = torch.fft.rfft(torch.eye(length), dim=0)
    spectrum[LOW_FREQUENCIES:] = 0
    projection: Tensor = torch.fft.irfft(spectrum, n=length, dim=0)
    return projection


class SasRecPolicy(SequencePolicy):
    """The network, fitted at fixed points."""

    name = "sasrec"

    def network(self, products: int) -> SelfAttention:
        """An unfitted network."""
        return SelfAttention(products, self._dimension, self._length)

    def encoder(self) -> bytes:
        """The network in ONNX's operators."""
        assert isinstance(self._network, SelfAttention), "it is fitted"  # noqa: S101
        return to_onnx(self._network)


def to_onnx(network: SelfAttention) -> bytes:
    """The network as an encoder: products (B, T, D), features (B, T, F), lengths (B,) → queries (B, 1, D)."""
    graph, d = Graph(), network.dimension
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}

    def normalised(x: str, name: str) -> str:
        return str(graph("LayerNormalization", x, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon=EPSILON))

    def linear(x: str, name: str, part: slice = slice(None)) -> str:
        return str(graph("Add", graph("MatMul", x, weights[f"{name}.weight"][part].T), weights[f"{name}.bias"][part]))

    def after(name: str, x: str, asked: str, at: str) -> str:  # as `_after`
        slow = graph("MatMul", graph("Slice", graph("Gather", network.low.numpy(), at), [0], steps, [2]), x)
        high = graph("Mul", graph("Sub", asked, slow), weights[f"{name}.high"] ** 2)
        filtered = normalised(graph("Add", asked, graph("Add", slow, high)), f"{name}.filtered_norm")
        query = linear(asked, f"{name}.query_key_value", slice(0, d))
        key = linear(x, f"{name}.query_key_value", slice(d, 2 * d))
        value = linear(x, f"{name}.query_key_value", slice(2 * d, 3 * d))
        fit = graph("MatMul", query, graph("Transpose", key, perm=[0, 2, 1]))
        later = graph("Greater", times, graph("Unsqueeze", at, [2]))
        share = graph("Softmax", graph("Where", later, FAR_BELOW, graph("Mul", fit, 1 / math.sqrt(d))), axis=2)
        attended = graph("Add", asked, linear(graph("MatMul", share, value), f"{name}.mixed"))
        attended = normalised(attended, f"{name}.attended_norm")
        both = graph("Add", graph("Mul", filtered, FILTER_WEIGHT), graph("Mul", attended, 1 - FILTER_WEIGHT))
        inner = linear(both, f"{name}.inner")
        risen = graph("Mul", inner, graph("Add", graph("Erf", graph("Mul", inner, 1 / math.sqrt(2))), 1.0))
        return normalised(graph("Add", both, linear(graph("Mul", risen, 0.5), f"{name}.outer")), f"{name}.norm")

    steps = graph("Shape", "products", start=1, end=2)  # (1,)
    times = graph("Range", 0, graph("Squeeze", steps), 1)  # (T,)
    last = graph("Sub", graph("Max", graph("Cast", "lengths", to=TensorProto.INT64), 1), 1)  # (B,)
    last = graph("Unsqueeze", last, [1])  # (B, 1)
    age = graph("Sub", last, times)  # (B, T)
    real = graph("Cast", graph("Unsqueeze", graph("GreaterOrEqual", age, 0), [2]), to=TensorProto.FLOAT)
    places = graph("Gather", weights["places"], graph("Max", age, 0))
    x = graph("Mul", normalised(graph("Add", "products", places), "norm"), real)
    for n in range(LAYERS - 1):
        x = graph("Mul", after(f"layers.{n}", x, x, graph("Unsqueeze", times, [0])), real)
    newest = graph("GatherND", x, last, batch_dims=1)  # (B, D)
    query = after(f"layers.{LAYERS - 1}", x, graph("Unsqueeze", newest, [1]), last)
    return graph.encoder(query, d)
