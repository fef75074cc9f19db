"""The policy `dqn`: the deep Q-network as the paper that Freshet follows writes it down, as a reference.

The state is seven features of the user's event before: user, product, price, helpfulness, rating, sentiment, time. Two
layers of rectified linear units give a value for each product, by squared loss towards the target network's values
(Mnih et al., Nature 2015), experience replay, and an exploration rate that decays. It reads the future: helpful votes
and the prices beside reviews are as crawled, years later, and who and when could be learned by heart.
"""

from __future__ import annotations

import copy
import zlib
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional

from shared.model.format import VALUES
from shared.model.served import FloatArray
from shared.numeric.arrays import with_prefix, without_prefix
from shared.policies.contract import Fitted, Gauges, Learned, PolicySnapshot, StepReport, keeps_contract
from shared.policies.fitted.encoder import EncoderScores, Graph
from shared.policies.networks.sequences import one_thread
from shared.policies.networks.transition_buffer import TransitionBatch, TransitionBuffer
from shared.state.histories import EVENT_FEATURES
from shared.state.stream import Seen, Stream

# What the state holds of the event before, beside the product's own number.
STATE_FEATURES = ("user", "crawled_price", "helpfulness", "rating", "sentiment", "time")
COLUMNS = [EVENT_FEATURES.index(name) for name in STATE_FEATURES]
STATE = 1 + len(STATE_FEATURES)

GROWING = ("values", "bias")  # the network's parameters with a row for each product
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of Adam
INITIAL_SCALE = 0.05
FIRST_CAPACITY = 1024  # products that there is room for at first


@dataclass(frozen=True, slots=True)
class DqnSettings:
    """How it learns."""

    hidden: int = 64  # units of each layer
    batch: int = 64
    buffer: int = 20_000  # transitions
    warmup: int = 256  # transitions before the first step
    transitions_per_step: int = 4
    target_steps: int = 200  # between copies into the target network
    learning_rate: float = 1e-3
    discount: float = 0.9
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_decay: float = 0.9995  # per transition


class ValueNetwork(nn.Module):
    """Seven numbers → a value for each product; the last layer grows with the catalogue, ahead of it."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.products = 0
        self.first = nn.Linear(STATE, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.values = nn.Parameter(torch.zeros(0, hidden))
        self.bias = nn.Parameter(torch.zeros(0))

    def last_hidden(self, state: Tensor) -> Tensor:
        """(B, 7) → (B, hidden)"""
        return functional.relu(self.second(functional.relu(self.first(state))))

    def forward(self, state: Tensor) -> Tensor:
        """(B, 7) → (B, A)"""
        return self.last_hidden(state) @ self.values[: self.products].T + self.bias[: self.products]


@keeps_contract
class DqnPolicy(EncoderScores):
    """Learns event by event: Q-learning of one network towards the values of another, which is copied from it."""

    name: ClassVar[str] = "dqn"
    fitted: ClassVar[Fitted] = "incrementally"
    seeded: ClassVar[bool] = True
    reads_future: ClassVar[bool] = True
    published: ClassVar[bool] = True
    fit_sequences = None
    head = VALUES

    def __init__(self, stream: Stream, seed: int, *, settings: DqnSettings | None = None) -> None:
        super().__init__(stream)
        self.settings = settings or DqnSettings()
        self.steps = 0
        self._rng = np.random.Generator(np.random.PCG64(seed))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._online = ValueNetwork(self.settings.hidden)
        self._target = copy.deepcopy(self._online)
        self._optimizer = torch.optim.Adam(self._online.parameters(), lr=self.settings.learning_rate)
        self._buffer = TransitionBuffer(self.settings.buffer, 1, len(EVENT_FEATURES))
        self._numbers: NDArray[np.float32] = np.zeros(0, np.float32)  # of each product, what stands for its id

    @property
    def epsilon(self) -> float:
        """The exploration rate: decays exponentially over transitions, never below its end."""
        s = self.settings
        return max(s.epsilon_end, s.epsilon_start * s.epsilon_decay**self._buffer.added)

    def learn(self, seen: Seen) -> StepReport | None:
        """Learn from one event; a user's first has no state before it."""
        self._grow(len(self._stream.products))
        transition, s = seen.transition, self.settings
        if seen.continued is not None:
            self._buffer.set_discount(seen.continued.serial, s.discount)
        if transition is None or len(transition.products) < 2:
            return None
        self._buffer.add(replace(transition, products=transition.products[-2:], features=transition.features[-2:]))
        if self._buffer.added < s.warmup or self._buffer.added % s.transitions_per_step:
            return None
        with one_thread():
            return self._step(self._buffer.sample(s.batch, self._rng))

    def refit(self) -> None:
        """Nothing: everything is learned as it comes."""

    def query(self, history: NDArray[np.int32], features: FloatArray) -> FloatArray:
        """The last hidden layer after the newest event."""
        if not len(history):
            return np.zeros(self.settings.hidden, np.float32)
        with torch.no_grad():
            hidden: FloatArray = self._online.last_hidden(self._state(history[-1:], features[-1:]))[0].numpy()
        return hidden

    def encoder(self) -> bytes:
        """The two layers in ONNX's operators; a product's vector holds its number first, and zeros."""
        graph = Graph()
        first, second = self._online.first.weight.detach().numpy(), self._online.second.weight.detach().numpy()
        of_product = np.zeros((self.settings.hidden, self.settings.hidden), np.float32)
        of_product[0] = first[:, 0]
        of_features = np.zeros((len(EVENT_FEATURES), self.settings.hidden), np.float32)
        of_features[COLUMNS] = first[:, 1:].T
        newest = graph("Sub", graph("Max", graph("Cast", "lengths", to=TensorProto.INT64), 1), 1)
        newest = graph("Unsqueeze", newest, [1])  # (B, 1)
        product, features = (graph("GatherND", source, newest, batch_dims=1) for source in ("products", "features"))
        x = graph("Add", graph("MatMul", product, of_product), graph("MatMul", features, of_features))
        x = graph("Relu", graph("Add", x, self._online.first.bias.detach().numpy()))
        x = graph("Relu", graph("Add", graph("MatMul", x, second.T), self._online.second.bias.detach().numpy()))
        return graph.encoder(graph("Unsqueeze", x, [1]), self.settings.hidden)

    def input_vectors(self) -> FloatArray:
        """(A, hidden)"""
        vectors = np.zeros((len(self._numbers), self.settings.hidden), np.float32)
        vectors[:, 0] = self._numbers
        return vectors

    def learned(self) -> Learned:
        """The two layers and the last one's weights."""
        return replace(super().learned(), steps=self.steps, epsilon=self.epsilon, discount=self.settings.discount)

    def gauges(self) -> Gauges:
        """The exploration rate and the replay buffer."""
        return Gauges(epsilon=self.epsilon, buffer_size=len(self._buffer))

    def snapshot(self) -> PolicySnapshot:
        """Everything but the stream."""
        a = self._online.products
        arrays = with_prefix("buffer/", self._buffer.to_arrays())
        for part, network in (("online", self._online), ("target", self._target)):
            arrays |= {f"{part}/{name}": _rows(name, t, a) for name, t in network.state_dict().items()}
        for name, parameter in self._online.named_parameters():
            for moment, tensor in self._optimizer.state[parameter].items():
                arrays[f"{moment}/{name}"] = _rows(name if tensor.dim() else "", tensor, a)
        return PolicySnapshot(arrays, {"steps": self.steps, "rng": dict(self._rng.bit_generator.state)})

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Go on from what `snapshot` gave."""
        arrays = snapshot.arrays
        self._buffer.restore(without_prefix("buffer/", arrays))
        self._grow(len(arrays["online/bias"]))
        for part, network in (("online", self._online), ("target", self._target)):
            for name, tensor in network.state_dict().items():
                saved = torch.from_numpy(arrays[f"{part}/{name}"])
                (tensor[: len(saved)] if name in GROWING else tensor).copy_(saved)
        for name, parameter in self._online.named_parameters():
            for moment in MOMENTS if f"step/{name}" in arrays else ():
                saved = torch.from_numpy(np.array(arrays[f"{moment}/{name}"]))
                full = torch.zeros_like(parameter) if saved.dim() else saved
                (full[: len(saved)] if saved.dim() else full).copy_(saved)
                self._optimizer.state[parameter][moment] = full
        self.steps = int(snapshot.state["steps"])
        self._rng.bit_generator.state = snapshot.state["rng"]

    def _state(self, products: NDArray[np.int32], features: FloatArray) -> Tensor:
        """(B,) and (B, F) of one event each → (B, 7); a product without a number counts as 0."""
        numbers = np.where(products >= 0, self._numbers[np.maximum(products, 0)], np.float32(0.0))
        return torch.from_numpy(np.column_stack([numbers, features[:, COLUMNS]]).astype(np.float32))

    def _step(self, batch: TransitionBatch) -> StepReport:
        now, after = (self._state(batch.products[:, n], batch.features[:, n]) for n in (0, 1))
        values = self._online(now)  # (B, A)
        chosen = values.gather(1, torch.from_numpy(batch.products[:, 1:]).long()).squeeze(1)
        with torch.no_grad():
            best = self._target(after).amax(dim=1)
            td_target = torch.from_numpy(batch.reward) + torch.from_numpy(batch.discount) * best
        loss = functional.mse_loss(chosen, td_target)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimizer.step()
        self.steps += 1
        if self.steps % self.settings.target_steps == 0:
            self._target.load_state_dict(self._online.state_dict())
        return StepReport(loss.item(), 0.0, loss.item(), values.detach().amax(dim=1).mean().item())

    def _grow(self, products: int) -> None:
        """Give every product up to `products` a number and a small random row, the same in both networks."""
        before = self._online.products
        if products <= before:
            return
        if products > len(self._online.bias):
            self._reserve(max(FIRST_CAPACITY, 2 * products))
        ids = self._stream.products[before:products]
        numbers = [zlib.crc32(product.encode()) / 2**32 for product in ids]
        self._numbers = np.append(self._numbers, np.array(numbers, np.float32))
        rows = INITIAL_SCALE * self._rng.standard_normal((products - before, self.settings.hidden), np.float32)
        for network in (self._online, self._target):
            network.values.data[before:products] = torch.from_numpy(rows)
            network.products = products
        self.items = self._online.values.detach().numpy()[:products]
        self.bias = self._online.bias.detach().numpy()[:products]

    def _reserve(self, capacity: int) -> None:
        for network in (self._online, self._target):
            for name in GROWING:
                old = getattr(network, name)
                new = nn.Parameter(_padded(old.detach(), capacity))
                moments = self._optimizer.state.pop(old, {})
                if moments:
                    self._optimizer.state[new] = {
                        moment: _padded(tensor, capacity) if tensor.dim() else tensor
                        for moment, tensor in moments.items()
                    }
                setattr(network, name, new)
        self._optimizer.param_groups[0]["params"] = list(self._online.parameters())


def _padded(tensor: Tensor, rows: int) -> Tensor:
    padded = torch.zeros((rows, *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    return padded


def _rows(name: str, tensor: Tensor, products: int) -> NDArray[Any]:
    array: NDArray[Any] = (tensor[:products] if name in GROWING else tensor).detach().numpy().copy()
    return array
