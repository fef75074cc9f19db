"""Trainer: what it carries on one core, everything included, and gradient steps against the least torch work."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from prometheus_client import CollectorRegistry
from torch import Tensor
from torch.nn import functional

from services.trainer import publish
from services.trainer.checkpoint import Checkpoint, CheckpointWriter
from services.trainer.learner import Learner
from services.trainer.metrics import TrainerMetrics
from services.trainer.settings import TrainerSettings
from shared.log.merge import AppliedMarks, OrderedMerge, Positioned
from shared.log.ordered import ReaderSnapshot
from shared.log.records import parse_state
from shared.model.candidates import F
from shared.policies.contract import StepReport
from shared.policies.freshet.double_dqn import CE, Q, td_targets
from shared.policies.freshet.network import TorchActionNetwork
from shared.policies.freshet.policy import FreshetPolicy
from shared.policies.freshet.replay_buffer import Batch
from shared.process.settings import load
from shared.state.shop import ShopSettings
from tests.bench.figures import BenchSettings, Figure
from tests.bench.repeats import Spread, interleaved
from tests.bench.shop import views

# Products → events a second.
WANTED_RATES = {1_000: 1_000.0, 10_000: 500.0}
BEFORE, MEASURED = 12_000, 8_000  # events; the replay buffer is full at the end
SLICE = 1_000
USERS = 2_000
PARTITIONS = 3

WANTED = 0.8
STEPS, STEPS_QUICK = 150, 20


def run(settings: BenchSettings) -> list[Figure]:
    """Events a second of CPU time at 1,000 and 10,000 products, and gradient steps a second."""
    torch.set_num_threads(1)  # as the trainer's default
    torch.use_deterministic_algorithms(mode=True)  # likewise
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        figures = [_carried(products, wanted, settings) for products, wanted in WANTED_RATES.items()]
        return [*figures, _steps(settings)]
    finally:
        torch.use_deterministic_algorithms(mode=False)


def _carried(products: int, wanted: float, settings: BenchSettings) -> Figure:
    before, measured = (1_500, 500) if settings.quick else (BEFORE, MEASURED)
    trainer = WholeTrainer(settings.folder / str(products))
    states = views(before + measured, products, users=USERS)
    records = [_record(state.SerializeToString(), place) for place, state in enumerate(states)]
    trainer.carry(records[:before])
    trainer.spent.clear()
    rates = []  # of each slice, with a checkpoint and a version
    for begin in range(before, len(records), SLICE):
        start = time.process_time()
        trainer.carry(records[begin : begin + SLICE])
        rates.append(len(records[begin : begin + SLICE]) / (time.process_time() - start))
    spread = Spread(rates)
    trainer.spent["learning but steps"] -= trainer.spent["steps"]
    parts = ", ".join(f"{name} {spent / measured * 1e6:,.0f}" for name, spent in trainer.spent.items())
    return Figure(
        f"trainer, {products:,} products",
        spread.median,
        "events/s",
        None,
        "",
        wanted,
        at_least=True,
        note=f"{spread} by thousand events; µs of CPU an event: {parts}",
    )


def _record(state: bytes, place: int) -> bytes:
    """A state as the features service writes it."""
    record = parse_state(state, PARTITIONS)
    record.source, record.sequence = "bench/0", place + 1
    record.source_partition, record.source_offset = place % PARTITIONS, place
    return record.SerializeToString()


class WholeTrainer:
    """All that a trainer does but read from Kafka: parse, order, learn, show, make checkpoints, write versions.

    Attributes:
        spent: seconds of CPU time by what they were spent on.
    """

    def __init__(self, folder: Path) -> None:
        self._settings = load(TrainerSettings, {"FRESHET_TRAINER_STATE_DIR": str(folder / "state")})
        self._shop = load(ShopSettings, {"FRESHET_SHOP_MODELS_DIR": str(folder / "models")})
        self._metrics = TrainerMetrics(CollectorRegistry())
        self._checkpoints = CheckpointWriter(self._settings, self._shop, self._metrics)
        self._learner = Learner(self._settings, self._shop)
        self._merge = OrderedMerge(dict.fromkeys(range(PARTITIONS), 0))
        self._marks = {p: AppliedMarks() for p in range(PARTITIONS)}
        self.spent: defaultdict[str, float] = defaultdict(float)
        policy = self._learner.policy
        assert isinstance(policy, FreshetPolicy)
        self._step = policy.dqn.step
        policy.dqn.step = self._timed_step  # type: ignore[method-assign]

    def carry(self, records: list[bytes]) -> None:
        """Take records in the order of their places."""
        learner, every = self._learner, self._settings.checkpoint_events
        for place, record in enumerate(records):
            with self._spending("parsing and order"):
                state = parse_state(record, PARTITIONS)
                self._merge.push(Positioned(state, state.source_partition, place, 0))
                released = list(self._merge.release(lambda _: True, lambda _: True))
            for _, item in released:
                self._marks[item.partition].accept(item.state)
                with self._spending("learning but steps"):
                    report = learner.apply(item.state)
                self._metrics.applied.inc()
                if report is not None:
                    self._metrics.steps.inc()
                    self._metrics.step_seconds.observe(0.0)
                if learner.applied % every == 0:
                    with self._spending("checkpoints"):
                        self._checkpoints.write(Checkpoint(learner.snapshot(), self._position(), "bench"))
                    with self._spending("versions"):
                        publish.write(learner, self._position(), self._settings, self._shop)

    def _position(self) -> ReaderSnapshot:
        marks = {str(p): each.snapshot() for p, each in self._marks.items()}
        return ReaderSnapshot(positions={}, watermarks={}, marks=marks, ordered=True)

    def _timed_step(self, batch: Batch) -> StepReport:
        with self._spending("steps"):
            return self._step(batch)

    @contextmanager
    def _spending(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.spent[name] += time.process_time() - start


def _steps(settings: BenchSettings) -> Figure:
    steps = STEPS_QUICK if settings.quick else STEPS
    spreads = interleaved(
        {"trainer": _ours(steps), "bare torch": _bare(steps)}, 1 if settings.quick else 7, say=settings.say
    )
    return Figure(
        "training step",
        spreads["trainer"].median,
        "steps/s",
        spreads["bare torch"].median,
        "bare torch step",
        WANTED,
        at_least=True,
        note=f"batches of {load(TrainerSettings, {}).batch}, one thread; {spreads['trainer']} "
        f"beside {spreads['bare torch']}",
    )


def _ours(steps: int) -> Callable[[], float]:
    """A learner that has read the shop's views; only its sampling and stepping is timed."""
    learner = Learner(load(TrainerSettings, {"FRESHET_TRAINER_WARMUP_TRANSITIONS": "1000000"}), load(ShopSettings, {}))
    for state in views(3_000, 1_000, users=USERS):
        learner.apply(state)
    policy = learner.policy
    assert isinstance(policy, FreshetPolicy)

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            policy.dqn.step(policy.buffer.sample(policy.settings.batch, policy.rng))
        return steps / (time.perf_counter() - start)

    return measure


def _bare(steps: int) -> Callable[[], float]:
    """The same network, losses and updates on one fixed batch: no buffer, no draws, no report.

    Both optimisers are torch's own fused AdamW over all parameters, the fastest it has on a CPU.
    """
    s = load(TrainerSettings, {})
    generator = torch.Generator().manual_seed(s.seed)
    network = TorchActionNetwork(s.hidden)
    target = copy.deepcopy(network).requires_grad_(requires_grad=False)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=s.learning_rate, weight_decay=s.weight_decay, fused=True)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    shape = s.batch, 1 + s.negatives
    candidates, following = (drawn(s.batch * (1 + s.negatives), F) for _ in range(2))
    reward, discount, nothing = drawn(s.batch), torch.full((s.batch,), s.discount), torch.zeros(s.batch)
    first = torch.zeros(s.batch, dtype=torch.long)

    def step() -> None:
        of_each = network(candidates).unflatten(1, shape)
        q = of_each[Q]
        with torch.no_grad():
            q_now, q_next, q_online = (
                of(read, first=Q).view(shape)
                for of, read in ((target, candidates), (target, following), (network, following))
            )
            wanted = td_targets(reward, discount, q_online, q_next)
            unchanged = td_targets(nothing, discount, q, q_now)
        away = functional.smooth_l1_loss(q[:, 1:], unchanged[:, None].expand_as(q[:, 1:]))
        loss = functional.cross_entropy(of_each[CE], first)
        loss = loss + s.td_weight * (functional.smooth_l1_loss(q[:, 0], wanted) + away)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, s.gradient_clip)
        optimizer.step()

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return steps / (time.perf_counter() - start)

    return measure
