"""Runs the policies of an evaluation: each under each seed, on one identical stream."""

from __future__ import annotations

import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from services.lab.datasets import Describing, Sequences
from services.lab.options import arguments_of
from shared.content.new_products import ContentSettings
from shared.evaluation.contest import Answers, Contest, JudgedEvents, Options, campaign
from shared.evaluation.figures import PRIMARY, Figures, Speed, figures_of, speed_of
from shared.evaluation.protocols import Variant, leave_one_out
from shared.pb.freshet.v1.events_pb2 import Product, StateVector
from shared.policies.contract import Gauges
from shared.policies.registry import class_of
from shared.process.terminal import Forecast, Terminal, bar
from shared.state.shop import StreamSettings

NOT_A_BASELINE = frozenset({"freshet", "mixture", "markov-sasrec"})
# In leave-one-out there are no times: popularity is all that was counted.
NO_DECAY_DAYS = 1e9

_SHOW_SECONDS = 0.2


class Protocol(typing.Protocol):
    """One of `shared.evaluation.protocols`."""

    def __call__(self, contest: Contest, states: Sequence[StateVector], *, look: Callable[[int], None]) -> None:
        """Run it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How policies are judged."""

    policies: Sequence[str]
    seeds: Sequence[int]
    settings: StreamSettings
    options: Options = field(default_factory=dict)  # as --set has them
    spam_share: float = 0.0
    listings: Sequence[Product] = ()  # products that are known before their first event
    content: ContentSettings | None = None  # how these get a place

    @property
    def arguments(self) -> Options:
        """The arguments of each policy's constructor."""
        return {name: arguments_of(name, options) for name, options in self.options.items()}


@dataclass(slots=True)
class Result:
    """All runs of one protocol."""

    record: JudgedEvents  # of the first run
    answers: dict[str, list[Answers]]  # policy → each run, in the order of the seeds
    failures: dict[str, str]  # policy → why it has no row
    learn_seconds: dict[str, float]
    updates: dict[str, int]  # events learned, in all runs of the policy
    parts: dict[str, list[Gauges]]  # policy that weighs its parts → of each run, at its end
    promoted: list[str]  # products that spam of the first run praised
    promoted_rows: list[int]
    product_ids: list[str]  # row → product_id, of the first run
    users: int
    events: int

    @property
    def products(self) -> int:
        """How many products there were at the end."""
        return len(self.product_ids)

    def figures(self, seed: int, primary: str = PRIMARY) -> Figures:
        """All figures of the runs; `primary`: the metric by which policies are compared."""
        return figures_of(
            self.record,
            self.answers,
            baselines=[name for name in self.answers if name not in NOT_A_BASELINE],
            promoted=self.promoted_rows,
            seed=seed,
            primary=primary,
        )

    def speeds(self) -> dict[str, Speed]:
        """How fast each policy ranked and learned."""
        return {
            name: speed_of(runs, self.updates[name], self.learn_seconds[name]) for name, runs in self.answers.items()
        }


def on_stream(
    evaluation: Evaluation,
    states: Sequence[StateVector],
    describing: Describing,
    screen: Terminal,
    protocol: Protocol,
) -> Result:
    """Run a protocol on events, with spam among them where the evaluation has a share of it."""

    def run(names: Sequence[str], seed: int, progress: _RunProgress) -> tuple[Contest, list[str]]:
        stream, promoted = states, list[str]()
        if evaluation.spam_share:
            stream, promoted = with_spam(states, evaluation.spam_share, seed, describing)
        progress.total = len(stream)
        contest = Contest(
            names,
            evaluation.settings,
            seed,
            len(states),
            options=evaluation.arguments,
            clock=time.perf_counter,
            listings=evaluation.listings,
            content=evaluation.content,
        )
        with one_thread():
            protocol(contest, stream, look=progress)
        return contest, promoted

    return _runs(evaluation, run, screen, again=bool(evaluation.spam_share))


def on_sequences(evaluation: Evaluation, data: Sequences, variant: Variant, screen: Terminal) -> Result:
    """Run leave-one-out on sequences."""

    def run(names: Sequence[str], seed: int, progress: _RunProgress) -> tuple[Contest, list[str]]:
        progress.total = data.events
        contest = Contest(
            names,
            evaluation.settings,
            seed,
            len(data.sequences),
            options=evaluation.arguments,
            clock=time.perf_counter,
            tell=progress.tell,
        )
        with one_thread():
            leave_one_out(contest, data.sequences, variant, progress)
        return contest, []

    return _runs(evaluation, run, screen, again=False)


def with_spam(
    states: Sequence[StateVector], share: float, seed: int, describing: Describing
) -> tuple[list[StateVector], list[str]]:
    """The stream with paid reviewers in it, and the products they praise."""
    paid_reviews = campaign(states, share, np.random.default_rng(seed))
    mixed: list[StateVector] = []
    start = 0
    for place, event in paid_reviews.events:
        mixed.extend(states[start:place])
        mixed.append(describing(event))
        start = place
    mixed.extend(states[start:])
    return mixed, paid_reviews.promoted


def _runs(
    evaluation: Evaluation,
    run: Callable[[Sequence[str], int, _RunProgress], tuple[Contest, list[str]]],
    screen: Terminal,
    *,
    again: bool,
) -> Result:
    """Run under every seed; policies that draw nothing once only, unless the stream differs from seed to seed."""
    result: Result | None = None
    for number, seed in enumerate(evaluation.seeds):
        names = [name for name in evaluation.policies if not number or again or class_of(name).seeded]
        if result is not None:
            names = [name for name in names if name not in result.failures]
        if not names:
            break
        several = len(evaluation.seeds) > 1
        progress = _RunProgress(screen, f"seed {seed} ({number + 1} of {len(evaluation.seeds)})" if several else "")
        contest, promoted = run(names, seed, progress)
        screen.clear()
        if result is None:
            result = _first(contest, promoted)
        _take(result, contest)
    assert result is not None, "there is a seed and a policy"  # noqa: S101
    return result


def _first(contest: Contest, promoted: list[str]) -> Result:
    stream = contest.stream
    return Result(
        record=contest.record,
        answers={},
        failures={},
        learn_seconds={},
        updates={},
        parts={},
        promoted=promoted,
        promoted_rows=[stream.rows[product] for product in promoted],
        product_ids=stream.products,
        users=contest.users,
        events=contest.updates,
    )


def _take(result: Result, contest: Contest) -> None:
    result.failures |= contest.failures
    for name in contest.policies:
        if name in result.failures:
            result.answers.pop(name, None)
            continue
        result.answers.setdefault(name, []).append(contest.record.answers(name))
        result.learn_seconds[name] = result.learn_seconds.get(name, 0.0) + contest.learn_seconds[name]
        result.updates[name] = result.updates.get(name, 0) + contest.updates
        gauges = contest.policies[name].gauges()
        if gauges.mixture:
            result.parts.setdefault(name, []).append(gauges)


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever multiplies matrices does so in one thread: sums then come out the same each time."""
    torch = sys.modules.get("torch")  # which a policy has imported, or none needs
    if torch is not None:
        torch.set_num_threads(1)
    with threadpool_limits(limits=1):
        yield


class _RunProgress:
    """Shows how far a run is."""

    def __init__(self, screen: Terminal, what: str) -> None:
        self.total = 1
        self._screen = screen
        self._what = f"  {what}" if what else ""
        self._forecast = Forecast()
        self._shown = 0.0  # monotonic seconds

    def tell(self, what: str) -> None:
        """Show something else."""
        self._screen.status(f"  {what}{self._what}")

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown < _SHOW_SECONDS:
            return
        self._shown = now
        share = done / self.total
        left = self._forecast.left(share)
        self._screen.status(f"  {bar(share)} {share:4.0%}  {done:,} of {self.total:,} events{self._what}  {left}")
