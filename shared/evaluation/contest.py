"""Policies side by side on one stream: each event is judged, then learned, by all. Pure, but for a clock passed in."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast

import numpy as np

from shared.content.places import Content
from shared.content.settings import ContentSettings
from shared.errors import Unusable
from shared.evaluation.prequential import Prequential
from shared.evaluation.record import MOST, Record
from shared.evaluation.spam import SOURCE
from shared.pb.freshet.v1.events_pb2 import EVENT_KIND_TICK, Product, StateVector
from shared.policies.policy import Policy
from shared.policies.registry import make
from shared.policies.stream import Stream
from shared.state.shop import StreamSettings


class Pass(Protocol):
    """How far a policy is that learns whole sequences, such as `shared.policies.sequences.Progress`."""

    @property
    def done(self) -> int:
        """Passes over the sequences."""

    @property
    def most(self) -> int:
        """Passes there will be, or fewer."""


Options = Mapping[str, Mapping[str, Any]]  # policy → what its constructor is told


class Contest:
    """One run of some policies on one stream.

    Args:
        names: the policies.
        settings: the same for all of them.
        events: that will be judged, at most.
        clock: seconds, for what policies take.
        tell: hears how far a policy is that fits for long.
        listings: products that the shop says it has; others are known from their first event.
        content: how listed products that have few events get a place; None: nothing gives them one.
    """

    def __init__(
        self,
        names: Sequence[str],
        settings: StreamSettings,
        seed: int,
        events: int,
        *,
        options: Options | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        tell: Callable[[str], None] = lambda _: None,
        listings: Iterable[Product] = (),
        content: ContentSettings | None = None,
    ) -> None:
        self.stream = Stream(settings, None if content is None else Content(content))
        self.prequential = Prequential(self.stream, top=MOST, seed=seed, clock=clock, listings=listings)
        self.record = Record(names, events)
        self.failures: dict[str, str] = {}  # policy → why it could not go on
        self.updates = 0  # events applied
        self.learn_seconds = dict.fromkeys(names, 0.0)
        self.policies: dict[str, Policy] = {
            name: make(name, self.stream, seed, **(options or {}).get(name, {})) for name in names
        }
        self._clock = clock
        self._tell = tell

    def judge(self, state: StateVector) -> None:
        """Ask every policy, and keep what it says; not about spam."""
        if state.source == SOURCE or state.kind == EVENT_KIND_TICK:
            return
        asked = [None if name in self.failures else policy for name, policy in self.policies.items()]
        judgement = self.prequential.judge(state, asked)
        row = self.stream.rows.get(state.product_id, -1)
        self.record.grow_to(len(self.stream.products))
        self.record.note(state, judgement, row)

    @property
    def learns_sequences(self) -> frozenset[str]:
        """Policies that have a way of their own to learn from whole sequences."""
        return frozenset(name for name, policy in self.policies.items() if hasattr(policy, "fit_sequences"))

    def learn(self, state: StateVector, *, but: Container[str] = ()) -> None:
        """Let an event count, for all policies `but` some."""
        seen = self.prequential.apply(state)
        self.updates += 1
        self.record.applied(seen.product)
        for name, policy in self.policies.items():
            if name not in but:
                self._timed(name, partial(policy.learn, seen))

    def follow(self, state: StateVector) -> None:
        """Let an event count for its user's history alone."""
        self.prequential.follow(state)

    def learn_sequences(self, sequences: Sequence[Sequence[int]], validation: Sequence[int] | None) -> None:
        """Let policies that have a way of their own learn from whole sequences.

        Args:
            sequences: rows of each user's products, oldest first, all of which the stream has applied.
            validation: the row of what each user chose next, to choose by and not to learn; -1: there is none.
        """
        arrays = [np.array(own, np.int32) for own in sequences]
        for name in sorted(self.learns_sequences):
            fit = cast(Any, self.policies[name]).fit_sequences
            self._timed(name, partial(fit, arrays, validation, partial(self._tell_of_pass, name)))

    def refit(self, *, but: Container[str] = ()) -> None:
        """Let those fit that do so at fixed points, `but` some."""
        for name, policy in self.policies.items():
            if policy.fitted == "at fixed points" and name not in but:
                self._timed(name, policy.refit)

    def _tell_of_pass(self, name: str, progress: Pass) -> None:
        self._tell(f"{name}: pass {progress.done} of at most {progress.most}")

    def _timed(self, name: str, work: Callable[[], object]) -> None:
        if name in self.failures:
            return
        start = self._clock()
        try:
            work()
        except Unusable as error:
            self.failures[name] = str(error)
        self.learn_seconds[name] += self._clock() - start
