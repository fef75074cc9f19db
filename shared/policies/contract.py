"""The contract of every policy: it learns from a stream, scores as it is served, and gives what there is to publish.

Of the event that it learns from, a policy may read the product, the kind, the price and the user: the transition's last
entry and `Seen.state`. Of the state before that event it may read `Transition.products` and `features` up to `judged`
alone. Prices of the metadata, helpful votes, the user's number and absolute time are known only later: a policy that
reads them, as the paper's `dqn` does, declares `reads_future`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shared.model.candidates import Ranker
from shared.model.format import Golden, GoldenCandidates, NeighbourPart, Parts
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
    golden_candidates: GoldenCandidates | None = None  # None: there is no action network to check
    metrics: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    skipped: int = 0  # steps that were due and left out: others, with more time, would have learned something else
    epsilon: float = 0.0
    discount: float = 0.0


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """All of a policy, for a checkpoint: arrays of numbers, and what JSON keeps."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What can be watched of a policy while it learns; the defaults where it has no such thing."""

    epsilon: float = 0.0
    buffer_size: int = 0  # transitions in the replay buffer
    mixture: Mapping[str, float] = field(default_factory=dict)  # part of the mixture that is served → its weight
    heads: Mapping[str, float] = field(default_factory=dict)  # head → its weight beside the mixture's logarithm
    shares: Mapping[str, float] = field(default_factory=dict)  # the mixture and each head → its share of the score
    weighted: Mapping[str, float] = field(default_factory=dict)  # head → share of all events at which it had a weight
    validated: int = 0  # events of late that chose these


@dataclass(frozen=True, slots=True)
class Progress:
    """One pass over the examples."""

    done: int  # passes
    most: int  # passes there will be, or fewer
    loss: float
    validation: float | None  # NDCG@10 of the validation products


class FitSequences(Protocol):
    """Learns anew from whole sequences, in as many passes as that takes."""

    def __call__(
        self,
        sequences: Sequence[NDArray[np.int32]],
        validation: Sequence[int] | None = None,
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Replace what was learned.

        Args:
            sequences: rows of the stream's products, an array for each user, oldest first.
            validation: the product that followed each sequence, to choose by; -1: there is none. None: nothing is
                chosen.
            on_progress: is called after each pass.
        """


Fitted = Literal["incrementally", "at fixed points"]


class Policy(Protocol):
    """Learns one stream. The same events in the same order under the same seed give the same policy, bit for bit.

    It is a `shared.model.served.Scores` too: `served_scores(policy, window, stream.known)` ranks as this moment
    would be served, and what `learned` gives ranks the same when `shared.model.scoring.Scorer` has loaded it. Rows are
    the stream's; none of the methods reads a clock.

    What callers need to know of a policy is declared here, and every class declares it: `keeps_contract` has mypy hold
    it to that.
    """

    # As `--policies` and FRESHET_TRAINER_POLICY name it.
    name: ClassVar[str]
    # Whether `learn` changes what is scored, or `refit` does.
    fitted: ClassVar[Fitted]
    # Whether it is judged under every seed; False: it draws nothing, and fitting it again would change nothing.
    seeded: ClassVar[bool]
    # Whether it reads what was not known yet when the event happened.
    reads_future: ClassVar[bool]
    # Whether `learned` gives something to publish; False: it raises, and the trainer refuses the policy.
    published: ClassVar[bool]

    @property
    def fit_sequences(self) -> FitSequences | None:
        """How it learns from whole sequences; None: it takes them event by event, as a stream."""
        ...

    @property
    def mixture(self) -> FloatArray | None:
        """What each of the tally's experts counts in each context, (C, E), see `shared.model.mixture`.

        None: the policy mixes popularity and `related` itself.
        """
        ...

    @property
    def popularity_weight(self) -> float:
        """What popularity counts in the mixture with `related`, [0, 1]; 0: there is no mixture, `scores` are all."""
        ...

    @property
    def ranker(self) -> Ranker | None:
        """What puts the candidates of the mixture in order; None: nothing does."""
        ...

    def related(self, window: Window) -> FloatArray:
        """Weighted shares of the products that follow those of the history, (A0,), A0 <= the stream's products."""
        ...

    def scores(self, window: Window) -> FloatArray:
        """What is learned beside the mixture, (A0,); -inf for products that the policy knows nothing of."""
        ...

    def learn(self, seen: Seen) -> StepReport | None:
        """Learn from one event, which the stream has applied; the report of a gradient step, if one was made."""
        ...

    def refit(self) -> None:
        """Fit on all events learned so far, where the policy is fitted at fixed points; else nothing."""
        ...

    def learned(self) -> Learned:
        """What there is to publish. Changes nothing.

        Raises:
            Unusable: the policy is not `published`.
        """
        ...

    def gauges(self) -> Gauges:
        """What can be watched now."""
        ...

    def snapshot(self) -> PolicySnapshot:
        """Everything the policy knows and the stream does not; shares no memory with the policy."""
        ...

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Go on from what `snapshot` gave, as a policy newly made on the restored stream with the same settings."""
        ...


@runtime_checkable
class SkipsSteps(Protocol):
    """A policy that can leave out gradient steps that are due, so as to keep up."""

    behind: bool  # events come faster than they are learned from: it may leave out steps
    skipped: int  # steps left out so far


PolicyClass = TypeVar("PolicyClass", bound=type[Policy])


def keeps_contract(policy: PolicyClass) -> PolicyClass:
    """Have mypy check that a class is a whole `Policy`: classes are found by name, where it can't look."""
    return policy


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


# The head of a version without an encoder: its one query is 0.
HEAD = "none"


def encoder_of_zeros() -> bytes:
    """An ONNX model with an encoder's inputs, D = 1, whose one query is 0."""
    import onnx  # only who publishes needs it; the evaluator ranks by its baselines and publishes nothing
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
        neighbours={name: matrix for name, (_, matrix) in neighbours.items()},
    )
    return Learned(
        parts,
        heads={HEAD: 0.0 if bias is None else 1.0},
        popularity_weight=popularity_weight,
        neighbours={name: part for name, (part, _) in neighbours.items()},
    )
