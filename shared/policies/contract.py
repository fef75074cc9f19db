"""The contract of every policy: learns from a stream, scores as served, and says what there is to publish.

What a policy may read of an event's own time: its product, kind, price and who, in the transition's last entry and in
`Seen.state`. Of the state before it, only `Transition.products` and `features` up to `judged`. Metadata prices, helpful
votes, the user's number and absolute time are for the paper's `dqn` alone, whose rows say that it reads the future.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.model.format import Golden, NeighbourPart, Parts
from shared.model.neighbours import Neighbours
from shared.model.served import FloatArray
from shared.state.histories import EVENT_FEATURES, Window
from shared.state.stream import Seen


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one gradient step saw."""

    loss: float
    ce_loss: float
    td_loss: float
    mean_max_q: float  # mean over the batch of max_a Q(s, a)


@dataclass(frozen=True, slots=True)
class Learned:
    """What is published: the parts, how much each counts, how to check them, and how they did."""

    parts: Parts
    heads: dict[str, float]
    popularity_weight: float
    neighbours: dict[str, NeighbourPart] = field(default_factory=dict)
    golden: Golden | None = None  # None: there is no encoder to check
    metrics: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    epsilon: float = 0.0
    discount: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """All of a policy, for a checkpoint: arrays of numbers, and what JSON keeps."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


class Policy(Protocol):
    """Learns one stream. The same events in the same order under the same seed give the same policy, bit for bit.

    It is a `shared.model.served.Scores` too: `served_scores(policy, window, stream.trending)` ranks as this moment
    would be served, and what `learned` gives ranks the same when `shared.model.scoring.Scorer` has loaded it. Rows are
    the stream's; none of the methods reads a clock.
    """

    @property
    def name(self) -> str:
        """As `--policies` and FRESHET_TRAINER_POLICY say it."""
        ...

    @property
    def fitted(self) -> Literal["incrementally", "at fixed points"]:
        """Whether `learn` changes what is scored, or `refit` does."""
        ...

    @property
    def popularity_weight(self) -> float:
        """What popularity counts in the mixture with `related`, [0, 1]; 0: there is no mixture, `scores` are all."""
        ...

    def related(self, window: Window) -> FloatArray:
        """Weighted shares of the products that follow those of the history, (A0,), A0 <= the stream's products."""
        ...

    def scores(self, window: Window) -> FloatArray:
        """What is learned beside the mixture, (A0,); -inf for products that the policy knows nothing of."""
        ...

    def learn(self, seen: Seen) -> StepReport | None:
        """Take up one event, which the stream has applied; the report of a gradient step, if one was made."""
        ...

    def refit(self) -> None:
        """Fit on all events taken up so far, where the policy is fitted at fixed points; else nothing."""
        ...

    def learned(self) -> Learned:
        """What there is to publish. Changes nothing."""
        ...

    def snapshot(self) -> PolicySnapshot:
        """Everything the policy knows and the stream does not; shares nothing with what goes on."""
        ...

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Take up what `snapshot` gave, into a policy newly made on the restored stream with the same settings."""
        ...


def nothing_to_add(products: int) -> NDArray[np.float32]:
    """The `scores` of a policy that is all mixture, (A,)."""
    return np.zeros(products, np.float32)


def no_golden(history_length: int) -> Golden:
    """The golden queries of a version that has no encoder to check."""
    window = Window(
        np.zeros((0, history_length), np.int32),
        np.zeros((0, history_length, len(EVENT_FEATURES)), np.float32),
        np.zeros(0, np.int32),
    )
    return Golden(window, np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32))


# What a policy that has no encoder publishes in its place: one that answers nothing, for heads that count nothing.

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
