"""How networks that predict the next product are fitted: examples from sequences, the full softmax, passes."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.policies.contract import Progress

# The examples of so many batches are sorted by length before they are cut, so that little of a batch is padding.
SORTED_BATCHES = 16
# Histories that are encoded and judged at once.
JUDGED = 512

Keep = Callable[[tuple[int, ...]], Tensor]  # shape → dropout's factors


@dataclass(frozen=True, slots=True)
class Examples:
    """N pairs of a history and the product that followed it, as places in one array of events."""

    events: NDArray[np.int32]  # (E,) product rows, one user after the other, oldest first
    starts: NDArray[np.int64]  # (N,) first event of the history
    ends: NDArray[np.int64]  # (N,) the event that followed it

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Products (B, T), padded at the end by -1, lengths (B,), and what followed, (B,)."""
        starts, ends = self.starts[chosen], self.ends[chosen]
        lengths = (ends - starts).astype(np.int32)
        places = starts[:, None] + np.arange(lengths.max())
        products = np.where(places < ends[:, None], self.events[np.minimum(places, ends[:, None])], np.int32(-1))
        return products, lengths, self.events[ends]


def prefixes(sequences: Sequence[NDArray[np.int32]], length: int) -> Examples:
    """Every event but a user's first, with up to `length` events before it.

    One example per prefix, as Klenitskiy & Vasilev (RecSys 2023) and Shin et al. (AAAI 2024) train.
    """
    sizes = np.array([len(products) for products in sequences], np.int64)
    events = np.concatenate([*sequences, np.zeros(0, np.int32)]).astype(np.int32)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each event, where its user's begin
    ends = np.flatnonzero(np.arange(len(events)) > first)
    return Examples(events, np.maximum(first[ends], ends - length), ends)


def batches(examples: Examples, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Every example once, in random batches of much the same length."""
    order = rng.permutation(len(examples))
    cut = []
    for first in range(0, len(order), size * SORTED_BATCHES):
        some = order[first : first + size * SORTED_BATCHES]
        some = some[np.argsort(examples.ends[some] - examples.starts[some], kind="stable")]
        cut += [some[start : start + size] for start in range(0, len(some), size)]
    for place in rng.permutation(len(cut)):
        yield cut[place]


def dropout(share: float, rng: np.random.Generator) -> Keep:
    """Factors that drop so much, to 1/256, and keep the mean.

    Random bytes cost a tenth of what torch's own generator does.
    """
    least = round(share * 256)

    def keep(shape: tuple[int, ...]) -> Tensor:
        drawn = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape) >= least
        return torch.from_numpy(drawn.astype(np.float32)).mul_(256 / (256 - least))

    return keep


class FullSoftmax(torch.autograd.Function):
    """Mean cross-entropy of the products that followed over the whole catalogue, whose logits are formed in place.

    Logits of a batch are by far the largest thing of a step: torch's own loss makes several copies of them.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, query: Tensor, table: Tensor, followed: Tensor) -> Tensor:
        """(B, D), (A, D), (B,) → a number."""
        logits = query @ table.T  # (B, A), soon probabilities, then their gradient
        logits.sub_(logits.amax(dim=1, keepdim=True))
        chosen = logits.gather(1, followed[:, None])
        total = logits.exp_().sum(dim=1, keepdim=True)
        logits.div_(total).scatter_add_(1, followed[:, None], torch.full_like(chosen, -1.0)).div_(len(query))
        ctx.save_for_backward(query, table, logits)
        return (total.log() - chosen).mean()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradients of query and table."""
        query, table, logits = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * (logits @ table), gradient * (logits.T @ query), None


def full_softmax(query: Tensor, table: Tensor, followed: Tensor) -> Tensor:
    """`FullSoftmax`: (B, D), (A, D), (B,) → a number."""
    loss: Tensor = FullSoftmax.apply(query, table, followed)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return loss


class SequenceNetwork(nn.Module):
    """A network from the vectors of a history to a query whose products with the same vectors are logits."""

    dimension: int
    vectors: nn.Parameter  # (A, D)

    def encode(self, vectors: Tensor, lengths: Tensor, keep: Keep | None = None) -> Tensor:
        """(B, T, D), padded at the end by zeros, and (B,), each at least 1 → (B, D)."""
        raise NotImplementedError

    def queries(self, products: NDArray[np.int32], lengths: NDArray[np.int32], keep: Keep | None = None) -> Tensor:
        """(B, T) rows, -1 where padded, and (B,) → (B, D)."""
        rows = torch.from_numpy(products).long()
        known = (rows >= 0).unsqueeze(-1)
        return self.encode(
            nn.functional.embedding(rows.clamp(min=0), self.vectors) * known, torch.from_numpy(lengths).long(), keep
        )


@dataclass(frozen=True, slots=True)
class Passes:
    """How a network is fitted."""

    most: int  # passes over the examples
    most_steps: int | None = None  # gradient steps, after which fitting ends; None: as many as the passes take
    batch: int = 256
    learning_rate: float = 1e-3  # of the first step; falls to 0 along a line (Li et al., ICLR 2020)
    dropout: float = 0.5
    patience: int = 10  # passes without a better validation, after which fitting ends


def fit(
    network: SequenceNetwork,
    sequences: Sequence[NDArray[np.int32]],
    length: int,
    passes: Passes,
    rng: np.random.Generator,
    validation: Sequence[int] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Minimise the cross-entropy of what followed with Adam (Kingma & Ba 2015); with validation, keep the best pass.

    On one thread: with more, torch's sums depend on how many there are.
    """
    with one_thread():
        _fit(network, sequences, length, passes, rng, validation, on_progress)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit(
    network: SequenceNetwork,
    sequences: Sequence[NDArray[np.int32]],
    length: int,
    passes: Passes,
    rng: np.random.Generator,
    validation: Sequence[int] | None,
    on_progress: Callable[[Progress], None],
) -> None:
    examples = prefixes(sequences, length)
    if not len(examples):
        return
    optimizer = torch.optim.Adam(network.parameters(), lr=passes.learning_rate, fused=True)
    keep = dropout(passes.dropout, rng)
    steps = passes.most * -(-len(examples) // passes.batch)
    steps = steps_left = min(steps, passes.most_steps or steps)
    best, best_at, kept = -1.0, 0, None
    for done in range(1, passes.most + 1):
        losses, seen = 0.0, 0
        for chosen in itertools.islice(batches(examples, passes.batch, rng), steps_left):
            products, lengths, followed = examples.batch(chosen)
            query = network.queries(products, lengths, keep)
            loss = full_softmax(query, network.vectors, torch.from_numpy(followed).long())
            optimizer.param_groups[0]["lr"] = passes.learning_rate * steps_left / steps
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            losses += loss.item() * len(chosen)
            seen += len(chosen)
            steps_left -= 1
        reached = None if validation is None else ndcg_at_10(network, sequences, validation, length)
        on_progress(Progress(done, passes.most, losses / max(1, seen), reached))
        if reached is not None and reached > best:
            best, best_at, kept = reached, done, copy.deepcopy(network.state_dict())
        if not steps_left or (reached is not None and done - best_at >= passes.patience):
            break
    if kept is not None:
        network.load_state_dict(kept)


def ndcg_at_10(
    network: SequenceNetwork, sequences: Sequence[NDArray[np.int32]], followed: Sequence[int], length: int
) -> float:
    """Mean NDCG@10 of the product that followed each sequence, among those not in it; -1 where there is none."""
    judged = [user for user, product in enumerate(followed) if product >= 0 and len(sequences[user])]
    judged.sort(key=lambda user: min(length, len(sequences[user])))
    gains = 0.0
    with torch.no_grad():
        for first in range(0, len(judged), JUDGED):
            users = judged[first : first + JUDGED]
            logits = network.queries(*padded([sequences[user] for user in users], length)) @ network.vectors.T
            chosen = torch.tensor([followed[user] for user in users])[:, None]
            value = logits.gather(1, chosen)
            rows = np.repeat(np.arange(len(users)), [len(sequences[user]) for user in users])
            logits[rows, np.concatenate([sequences[user] for user in users])] = -torch.inf
            places = 1 + (logits > value).sum(dim=1)
            gains += float(torch.where(places <= 10, 1 / torch.log2(1.0 + places), 0.0).sum())
    return gains / max(1, len(judged))


def padded(histories: Sequence[NDArray[np.int32]], length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The newest `length` products of each history, (B, T), padded at the end by -1, and how many there are, (B,)."""
    lengths = np.array([min(length, len(history)) for history in histories], np.int32)
    products = np.full((len(histories), max(1, int(lengths.max(initial=0)))), -1, np.int32)
    for row, history in enumerate(histories):
        products[row, : lengths[row]] = history[len(history) - lengths[row] :]
    return products, lengths
