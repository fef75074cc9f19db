"""The policies `gru4rec` and `sasrec`: a network from a sequence of products to the next one, with a full softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional

from shared.model.served import FloatArray
from shared.numeric.arrays import without_prefix
from shared.policies.contract import Progress, keeps_contract
from shared.policies.fitted.encoder import FittedEncoder, Graph
from shared.policies.networks.sequences import Keep, Passes, SequenceNetwork, fit
from shared.state.stream import Stream

# On a stream every refit goes on from the last one, so it need not be long.
REFIT = Passes(most=10, most_steps=400)
WHOLE = Passes(most=20)

GRU_INITIAL_SCALE = 0.05

ATTENTION_INITIAL_SCALE = 0.02
LOW_FREQUENCIES = 3  # of the filter, the constant among them
FILTER_WEIGHT = 0.7  # what the filter counts beside attention
LAYERS = 2
EPSILON = 1e-12  # of normalisation
FAR_BELOW = -1e30  # a logit whose share is 0


class SequencePolicy(FittedEncoder):
    """A network, fitted at fixed points or on whole sequences at once.

    Args:
        dimension: D
        refit: how `refit` goes on fitting.
        whole: how `fit_sequences` fits.
    """

    def __init__(
        self, stream: Stream, seed: int, *, dimension: int = 64, refit: Passes = REFIT, whole: Passes = WHOLE
    ) -> None:
        super().__init__(stream, seed)
        self._dimension = dimension
        self._length = stream.settings.history_length
        self._refit, self._whole = refit, whole
        self._network: SequenceNetwork | None = None
        self._refits = 0

    def refit(self) -> None:
        """Go on fitting, with a vector for each product that came since, on all that is remembered."""
        sequences = self._remembered.sequences()
        if not any(len(products) > 1 for products in sequences):
            return
        network = self._grown()
        self._refits += 1
        fit(network, sequences, self._length, self._refit, np.random.default_rng([self._seed, self._refits]))
        self._take(network)

    def fit_sequences(
        self,
        sequences: Sequence[NDArray[np.int32]],
        validation: Sequence[int] | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Learn anew from whole sequences, in place of what was learned.

        Args:
            sequences: rows of the stream's products, an array for each user, oldest first.
            validation: the product that followed each, to choose the best pass by; None: the last pass is taken.
        """
        network = self._new()
        rng = np.random.default_rng([self._seed, 0])
        fit(network, sequences, self._length, self._whole, rng, validation, on_progress)
        self._take(network)

    def query(self, history: NDArray[np.int32], features: FloatArray) -> FloatArray:  # noqa: ARG002
        """The network's."""
        assert self._network is not None, "there are vectors of it"  # noqa: S101
        with torch.no_grad():
            query: FloatArray = self._network.queries(history[None], np.array([len(history)], np.int32))[0].numpy()
        return query

    def network(self, products: int) -> SequenceNetwork:
        """An unfitted network for so many products, drawn from torch's own generator."""
        raise NotImplementedError

    def _new(self) -> SequenceNetwork:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            return self.network(len(self._stream.products))

    def _grown(self) -> SequenceNetwork:
        network = self._new()
        if self._network is not None:
            old = self._network.state_dict()
            new = network.state_dict()
            new["vectors"][: len(old["vectors"])] = old["vectors"]
            network.load_state_dict(old | {"vectors": new["vectors"]})
        return network

    def _take(self, network: SequenceNetwork) -> None:
        self._network = network
        self.items = network.vectors.detach().numpy()
        self.bias = np.zeros(len(self.items), np.float32)

    def _to_arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {"refits": np.array([self._refits], np.int64)}
        if self._network is not None:
            arrays |= {f"network/{name}": t.numpy().copy() for name, t in self._network.state_dict().items()}
        return arrays

    def _from_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._refits = int(arrays["refits"][0])
        weights = {name: torch.from_numpy(np.array(a)) for name, a in without_prefix("network/", arrays).items()}
        if weights:
            network = self.network(len(weights["vectors"]))
            network.load_state_dict(weights)
            self._take(network)


@keeps_contract
class Gru4RecPolicy(SequencePolicy):
    """A recurrent network over a user's recent products, fitted at fixed points.

    Session-based recommendations with recurrent neural networks (Hidasi et al., ICLR 2016), with cross-entropy and one
    vector per product for input and output, as its authors later found best (Hidasi & Karatzoglou, CIKM 2018).
    """

    name: ClassVar[str] = "gru4rec"

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


class Recurrent(SequenceNetwork):
    """A GRU whose state after the newest product is mapped to the query."""

    def __init__(self, products: int, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.vectors = nn.Parameter(GRU_INITIAL_SCALE * torch.randn(products, dimension))
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


@keeps_contract
class SasRecPolicy(SequencePolicy):
    """Self-attention over a user's recent products with a low-pass filter beside it, fitted at fixed points.

    Self-attentive sequential recommendation (Kang & McAuley, ICDM 2018), with cross-entropy over the whole catalogue
    (Klenitskiy & Vasilev, RecSys 2023) and BSARec's frequency filter (Shin et al., AAAI 2024, eqs. 5 to 9).
    """

    name: ClassVar[str] = "sasrec"

    def network(self, products: int) -> SelfAttention:
        """An unfitted network."""
        return SelfAttention(products, self._dimension, self._length)

    def encoder(self) -> bytes:
        """The network in ONNX's operators."""
        assert isinstance(self._network, SelfAttention), "it is fitted"  # noqa: S101
        return to_onnx(self._network)


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
                nn.init.normal_(weight, std=ATTENTION_INITIAL_SCALE)
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
    layer: Layer, x: Tensor, inputs: Tensor, at: Tensor, low: Tensor, dropped: Callable[[Tensor], Tensor]
) -> Tensor:
    """A layer's output at Q places: x (B, T, D), its inputs there (B, Q, D), at (1 or B, Q) → (B, Q, D)."""
    d, steps = x.shape[2], x.shape[1]
    slow = low[at][:, :, :steps] @ x  # (B, Q, D)
    filtered = layer.filtered_norm(inputs + dropped(slow + layer.high**2 * (inputs - slow)))
    weight, bias = layer.query_key_value.weight, layer.query_key_value.bias
    query = functional.linear(inputs, weight[:d], bias[:d])
    key, value = functional.linear(x, weight[d:], bias[d:]).chunk(2, dim=2)
    later = torch.arange(steps) > at.unsqueeze(-1)  # (1 or B, Q, T)
    share = torch.softmax((query @ key.transpose(1, 2) / math.sqrt(d)).masked_fill(later, -torch.inf), dim=2)
    attended = layer.attended_norm(inputs + dropped(layer.mixed(dropped(share) @ value)))
    both = FILTER_WEIGHT * filtered + (1 - FILTER_WEIGHT) * attended
    result: Tensor = layer.norm(both + dropped(layer.outer(functional.gelu(layer.inner(both)))))
    return result


def low_pass(length: int) -> Tensor:
    """The projection of a sequence on its lowest frequencies, (T, T): irfft of the first few of rfft."""
    spectrum = torch.fft.rfft(torch.eye(length), dim=0)
    spectrum[LOW_FREQUENCIES:] = 0
    projection: Tensor = torch.fft.irfft(spectrum, n=length, dim=0)
    return projection


def to_onnx(network: SelfAttention) -> bytes:
    """The network as an encoder: products (B, T, D), features (B, T, F), lengths (B,) → queries (B, 1, D)."""
    graph, d = Graph(), network.dimension
    weights = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}

    def normalised(x: str, name: str) -> str:
        return str(graph("LayerNormalization", x, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon=EPSILON))

    def linear(x: str, name: str, part: slice = slice(None)) -> str:
        return str(graph("Add", graph("MatMul", x, weights[f"{name}.weight"][part].T), weights[f"{name}.bias"][part]))

    def after(name: str, x: str, inputs: str, at: str) -> str:  # as `_after`
        slow = graph("MatMul", graph("Slice", graph("Gather", network.low.numpy(), at), [0], steps, [2]), x)
        high = graph("Mul", graph("Sub", inputs, slow), weights[f"{name}.high"] ** 2)
        filtered = normalised(graph("Add", inputs, graph("Add", slow, high)), f"{name}.filtered_norm")
        query = linear(inputs, f"{name}.query_key_value", slice(0, d))
        key = linear(x, f"{name}.query_key_value", slice(d, 2 * d))
        value = linear(x, f"{name}.query_key_value", slice(2 * d, 3 * d))
        fit = graph("MatMul", query, graph("Transpose", key, perm=[0, 2, 1]))
        later = graph("Greater", times, graph("Unsqueeze", at, [2]))
        share = graph("Softmax", graph("Where", later, FAR_BELOW, graph("Mul", fit, 1 / math.sqrt(d))), axis=2)
        attended = graph("Add", inputs, linear(graph("MatMul", share, value), f"{name}.mixed"))
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
